//! syslog over Unix and network sockets: RFC 3164 and RFC 5424. Over a stream, messages end with a
//! newline (RFC 6587, 3.4.2).

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use loadline_model::logging::{SyslogAddress, SyslogFormat};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::{Destination, Message};
use crate::logs::record::Stream;
use crate::supervise::settings::SyslogSettings;

/// How long connecting to a server, and handing it a message, may take each.
const NETWORK_S_MAX: u64 = 10;
/// syslog's "informational" and "error".
const SEVERITY_STDOUT: u8 = 6;
const SEVERITY_STDERR: u8 = 3;

/// A syslog server.
#[derive(Debug)]
pub(super) struct Syslog {
    settings: SyslogSettings,
    /// The supervisor's own, as docker's is its daemon's.
    pid: u32,
    connection: Option<Connection>,
}

#[derive(Debug)]
enum Connection {
    Unixgram(UnixDatagram),
    Unix(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    pub(super) fn new(settings: SyslogSettings) -> Self {
        Self { settings, pid: std::process::id(), connection: None }
    }
}

impl Destination for Syslog {
    fn deliver(&mut self, message: &Message) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.settings.address)?,
        };
        // A connection that failed is not used again: part of a message may be in it.
        connection.send(line(&self.settings, self.pid, message))?;
        self.connection = Some(connection);
        Ok(())
    }
}

impl Connection {
    fn open(address: &SyslogAddress) -> io::Result<Self> {
        let patience = Duration::from_secs(NETWORK_S_MAX);
        Ok(match address {
            SyslogAddress::Unixgram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Self::Unixgram(socket)
            }
            SyslogAddress::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(patience))?;
                Self::Unix(stream)
            }
            SyslogAddress::Udp(server) => {
                let server = resolve(server)?;
                let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(server)?;
                Self::Udp(socket)
            }
            SyslogAddress::Tcp(server) => {
                let stream = TcpStream::connect_timeout(&resolve(server)?, patience)?;
                stream.set_write_timeout(Some(patience))?;
                Self::Tcp(stream)
            }
        })
    }

    fn send(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        match self {
            Self::Unixgram(socket) => socket.send(&line).map(drop),
            Self::Udp(socket) => socket.send(&line).map(drop),
            Self::Unix(stream) => {
                line.push(b'\n');
                stream.set_nonblocking(true)?;
                is_open(stream.read(&mut [0; 256]))?;
                stream.set_nonblocking(false)?;
                stream.write_all(&line)
            }
            Self::Tcp(stream) => {
                line.push(b'\n');
                stream.set_nonblocking(true)?;
                is_open(stream.read(&mut [0; 256]))?;
                stream.set_nonblocking(false)?;
                stream.write_all(&line)
            }
        }
    }
}

/// A server that has closed its end takes a first message without a word: it is looked at before.
fn is_open(read: io::Result<usize>) -> io::Result<()> {
    match read {
        Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

fn resolve(server: &str) -> io::Result<SocketAddr> {
    server.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// One message, without what ends it.
fn line(settings: &SyslogSettings, pid: u32, message: &Message) -> Vec<u8> {
    let severity = match message.stream {
        Stream::Stdout => SEVERITY_STDOUT,
        Stream::Stderr => SEVERITY_STDERR,
    };
    let priority = settings.facility * 8 + severity;
    let SyslogSettings { hostname, tag, .. } = settings;
    let time = |format| formatted(message.timestamp_ms, format);
    let head = match settings.format {
        SyslogFormat::Rfc3164 => {
            format!("<{priority}>{} {hostname} {tag}[{pid}]: ", time(RFC3164))
        }
        SyslogFormat::Rfc5424 => {
            format!("<{priority}>1 {} {hostname} {tag} {pid} {tag} - ", time(RFC5424))
        }
        SyslogFormat::Rfc5424Micro => {
            format!("<{priority}>1 {} {hostname} {tag} {pid} {tag} - ", time(RFC5424_MICRO))
        }
    };
    let mut line = head.into_bytes();
    line.extend_from_slice(&message.text);
    line
}

type Format = &'static [BorrowedFormatItem<'static>];

const RFC3164: Format =
    format_description!("[month repr:short] [day padding:space] [hour]:[minute]:[second]");
const RFC5424: Format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const RFC5424_MICRO: Format =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// UTC, to the microsecond.
pub(super) fn rfc3339(timestamp_ms: u64) -> String {
    formatted(timestamp_ms, RFC5424_MICRO)
}

fn formatted(timestamp_ms: u64, format: Format) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp_ms) * 1_000_000);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    // Every part of the formats is there in a date-time.
    time.format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use loadline_model::logging::DELIVERY;

    use super::*;

    fn settings(address: SyslogAddress, format: SyslogFormat) -> SyslogSettings {
        SyslogSettings {
            address,
            facility: 16,
            format,
            tag: "web".into(),
            hostname: "node".into(),
            delivery: DELIVERY,
        }
    }

    fn message(text: &str) -> Message {
        let timestamp_ms = 1_440_938_160_250;
        Message { timestamp_ms, stream: Stream::Stdout, partial: false, text: text.into() }
    }

    #[test]
    fn a_message_has_the_head_that_its_format_says() {
        let nowhere = SyslogAddress::Unixgram("/".into());
        for (format, expected) in [
            (SyslogFormat::Rfc3164, "<134>Aug 30 12:36:00 node web[7]: hi"),
            (SyslogFormat::Rfc5424, "<134>1 2015-08-30T12:36:00Z node web 7 web - hi"),
            (SyslogFormat::Rfc5424Micro, "<134>1 2015-08-30T12:36:00.250000Z node web 7 web - hi"),
        ] {
            let settings = settings(nowhere.clone(), format);
            assert_eq!(String::from_utf8(line(&settings, 7, &message("hi"))).unwrap(), expected);
            let error = Message { stream: Stream::Stderr, ..message("hi") };
            assert!(line(&settings, 7, &error).starts_with(b"<131>"));
        }
    }

    #[test]
    fn datagrams_reach_a_unix_and_a_udp_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let unix = UnixDatagram::bind(&path).unwrap();
        let address = SyslogAddress::Unixgram(path.to_str().unwrap().into());
        let mut to_unix = Syslog::new(settings(address, SyslogFormat::Rfc3164));
        to_unix.deliver(&message("over unix")).unwrap();
        let mut bytes = [0; 1024];
        let length = unix.recv(&mut bytes).unwrap();
        assert!(bytes[..length].ends_with(b"]: over unix"));

        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = SyslogAddress::Udp(udp.local_addr().unwrap().to_string());
        let mut to_udp = Syslog::new(settings(address, SyslogFormat::Rfc5424));
        to_udp.deliver(&message("over udp")).unwrap();
        let length = udp.recv(&mut bytes).unwrap();
        assert!(bytes[..length].ends_with(b" web - over udp"));
    }

    #[test]
    fn a_stream_carries_lines_and_is_opened_again_where_the_server_closed_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let unix = UnixListener::bind(&path).unwrap();
        let address = SyslogAddress::Unix(path.to_str().unwrap().into());
        let mut to_unix = Syslog::new(settings(address, SyslogFormat::Rfc3164));
        to_unix.deliver(&message("one")).unwrap();
        to_unix.deliver(&message("two")).unwrap();
        let mut lines = BufReader::new(unix.accept().unwrap().0).lines();
        assert!(lines.next().unwrap().unwrap().ends_with(": one"));
        assert!(lines.next().unwrap().unwrap().ends_with(": two"));

        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = SyslogAddress::Tcp(tcp.local_addr().unwrap().to_string());
        let mut to_tcp = Syslog::new(settings(address, SyslogFormat::Rfc5424));
        to_tcp.deliver(&message("first")).unwrap();
        let (stream, _) = tcp.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        assert!(text.ends_with("- first\n"), "{text}");
        drop(reader);
        // The closed end may take a moment to be known.
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while to_tcp.deliver(&message("lost")).is_ok() {
            assert!(std::time::Instant::now() < until, "the closed connection was not noticed");
            std::thread::sleep(Duration::from_millis(5));
        }
        to_tcp.deliver(&message("again")).unwrap();
        let mut lines = BufReader::new(tcp.accept().unwrap().0).lines();
        assert!(lines.next().unwrap().unwrap().ends_with("- again"));
    }
}
