//! Counters of the host's links, which are the other ends of the containers' own.

use std::collections::BTreeMap;
use std::io;

use loadline_model::usage::NetworkUsage;

const NET_DEV: &str = "/proc/net/dev";

/// The counters of every link, as they were read at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    by_name: BTreeMap<String, NetworkUsage>,
}

impl LinkCounters {
    /// Reads them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(NET_DEV)?))
    }

    /// Lines of `name: bytes packets errs drop fifo frame compressed multicast`, the same again
    /// for what was sent (proc_net(5)).
    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (name, numbers) = line.split_once(':')?;
            let numbers: Vec<u64> =
                numbers.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
            let [rx_bytes, rx_packets, rx_errors, rx_dropped] = *numbers.first_chunk()?;
            let [tx_bytes, tx_packets, tx_errors, tx_dropped] = *numbers.get(8..)?.first_chunk()?;
            let usage = NetworkUsage {
                rx_bytes,
                rx_packets,
                rx_errors,
                rx_dropped,
                tx_bytes,
                tx_packets,
                tx_errors,
                tx_dropped,
            };
            Some((name.trim().to_owned(), usage))
        };
        Self { by_name: text.lines().filter_map(line).collect() }
    }

    /// What a container sees of its own end, of which `link` is the host's.
    #[must_use]
    pub fn behind(&self, link: &str) -> Option<NetworkUsage> {
        let host = self.by_name.get(link)?;
        Some(NetworkUsage {
            rx_bytes: host.tx_bytes,
            rx_packets: host.tx_packets,
            rx_errors: host.tx_errors,
            rx_dropped: host.tx_dropped,
            tx_bytes: host.rx_bytes,
            tx_packets: host.rx_packets,
            tx_errors: host.rx_errors,
            tx_dropped: host.rx_dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_received_is_what_the_container_sent() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes    packets errs\n\
                    loadline-7: 10 2 1 0 0 0 0 0 3000 40 0 5 0 0 0 0\n    lo:1 1\n";
        let counters = LinkCounters::parse(text);
        let seen = counters.behind("loadline-7").unwrap();
        assert_eq!((seen.rx_bytes, seen.rx_packets, seen.rx_dropped), (3000, 40, 5));
        assert_eq!((seen.tx_bytes, seen.tx_packets, seen.tx_errors), (10, 2, 1));
        assert_eq!(counters.behind("lo"), None, "a line that is cut off is none");
        assert!(LinkCounters::read().unwrap().behind("lo").is_some());
    }
}
