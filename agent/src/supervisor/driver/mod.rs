//! The way to a log driver beyond the node's files: a bounded queue and the thread that delivers
//! it, so that a destination that is slow or away delays neither the container (unless its
//! definition wants that) nor the files.
//!
//! What finds no room is dropped and counted; the next message that is delivered is preceded by
//! one that says how many are missing.

mod journald;
mod syslog;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loadline_model::logging::Delivery;
use nix::sys::eventfd::EventFd;

use crate::clock::now_ms;
use crate::logs::record::{Record, Stream};
use crate::supervise::settings::DriverSettings;

/// Stack of the delivering thread: it formats one message and sends it.
const STACK_BYTES: usize = 128 * 1024;
/// From one attempt to reach a destination to the next.
const AGAIN_MS_MIN: u64 = 100;
const AGAIN_MS_MAX: u64 = 5_000;
/// What a message takes of the queue besides its bytes.
const MESSAGE_OVERHEAD_BYTES: u64 = 64;

/// One record on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) timestamp_ms: u64,
    pub(super) stream: Stream,
    pub(super) partial: bool,
    pub(super) text: Vec<u8>,
}

impl Message {
    fn bytes(&self) -> u64 {
        self.text.len() as u64 + MESSAGE_OVERHEAD_BYTES
    }
}

/// Takes one message after the other. An error means that the destination is not there now.
pub(super) trait Destination: Send {
    /// Delivers a message, or nothing of it.
    fn deliver(&mut self, message: &Message) -> io::Result<()>;
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: u64,
    dropped: u64,
    closed: bool,
    finished: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
    delivery: Delivery,
    /// Counts up whenever there is room again, or the thread has ended: the sink's own.
    drained: Arc<EventFd>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Fails only where the counter is at its maximum, and then it is readable anyway.
        let _ = self.drained.write(1);
    }
}

/// The engine's end.
#[derive(Debug)]
pub(super) struct Driver {
    shared: Arc<Shared>,
}

impl Driver {
    /// Starts the thread of a driver that has one.
    pub(super) fn start(
        settings: &DriverSettings,
        drained: &Arc<EventFd>,
    ) -> io::Result<Option<Self>> {
        let (destination, delivery): (Box<dyn Destination>, Delivery) = match settings {
            DriverSettings::File | DriverSettings::None => return Ok(None),
            DriverSettings::Syslog(settings) => {
                (Box::new(syslog::Syslog::new(settings.clone())), settings.delivery)
            }
            DriverSettings::Journald(settings) => {
                (Box::new(journald::Journald::new(settings.clone())), settings.delivery)
            }
        };
        Self::deliver_to(destination, delivery, drained).map(Some)
    }

    fn deliver_to(
        destination: Box<dyn Destination>,
        delivery: Delivery,
        drained: &Arc<EventFd>,
    ) -> io::Result<Self> {
        let (queue, more) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { queue, more, delivery, drained: Arc::clone(drained) });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("driver".into())
            .stack_size(STACK_BYTES)
            .spawn(move || deliver_until_closed(&theirs, destination))?;
        Ok(Self { shared })
    }

    /// Queues whole records, and drops what finds no room. One that blocks was asked before
    /// whether it has some, and takes the little more that one turn of the engine brings.
    pub(super) fn push(&self, records: &[u8]) {
        let Delivery { blocks, buffer_bytes_max } = self.shared.delivery;
        let mut queue = self.shared.lock();
        for line in records.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Some(record) = Record::decode(line) else { continue };
            let Record { timestamp_ms, stream, partial, message } = record;
            let message = Message { timestamp_ms, stream, partial, text: message.to_vec() };
            let bytes = queue.bytes + message.bytes();
            if buffer_bytes_max < bytes && !blocks {
                queue.dropped += 1;
                continue;
            }
            queue.bytes = bytes;
            queue.messages.push_back(message);
        }
        self.shared.more.notify_one();
    }

    /// Whether the container has to wait.
    pub(super) fn is_full(&self) -> bool {
        let Delivery { blocks, buffer_bytes_max } = self.shared.delivery;
        blocks && buffer_bytes_max <= self.shared.lock().bytes
    }

    /// No more records will come.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.more.notify_one();
    }

    /// Whether everything is delivered and the thread has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.shared.lock().finished
    }
}

fn deliver_until_closed(shared: &Shared, mut destination: Box<dyn Destination>) {
    let mut again_ms = AGAIN_MS_MIN;
    loop {
        let (message, dropped) = {
            let mut queue = shared.lock();
            while queue.messages.is_empty() && queue.dropped == 0 && !queue.closed {
                queue = shared.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            (queue.messages.front().cloned(), queue.dropped)
        };
        let delivered = match (dropped, &message) {
            (0, Some(message)) => destination.deliver(message),
            (0, None) => break,
            (dropped, _) => destination.deliver(&missing(dropped)),
        };
        if delivered.is_err() {
            std::thread::sleep(Duration::from_millis(again_ms));
            again_ms = (again_ms * 2).min(AGAIN_MS_MAX);
            continue;
        }
        again_ms = AGAIN_MS_MIN;
        let mut queue = shared.lock();
        if 0 < dropped {
            queue.dropped -= dropped;
        } else if let Some(sent) = queue.messages.pop_front() {
            queue.bytes -= sent.bytes();
        }
        drop(queue);
        if shared.delivery.blocks {
            shared.wake();
        }
    }
    shared.lock().finished = true;
    shared.wake();
}

/// What is told of messages that found no room.
fn missing(dropped: u64) -> Message {
    let text = format!(
        "[loadline] {dropped} messages are missing here: the log's destination was away or too \
         slow"
    );
    let stream = Stream::Stderr;
    Message { timestamp_ms: now_ms(), stream, partial: false, text: text.into_bytes() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use loadline_model::logging::DELIVERY;
    use nix::sys::eventfd::EfdFlags;

    use super::*;

    /// Fails until it is told to work, then tells what it gets.
    struct Fake {
        works: mpsc::Receiver<()>,
        told: mpsc::Sender<Message>,
    }

    impl Destination for Fake {
        fn deliver(&mut self, message: &Message) -> io::Result<()> {
            match self.works.try_recv() {
                Err(mpsc::TryRecvError::Empty) => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => self.told.send(message.clone()).map_err(io::Error::other),
            }
        }
    }

    fn records(count: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for n in 0..count {
            let message = format!("line {n}");
            let (stream, partial) = (Stream::Stdout, false);
            Record { timestamp_ms: 1, stream, partial, message: message.as_bytes() }
                .encode(&mut out);
        }
        out
    }

    fn start(delivery: Delivery) -> (Driver, mpsc::Sender<()>, mpsc::Receiver<Message>) {
        let (works, told) = (mpsc::channel(), mpsc::channel());
        let drained = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let fake = Box::new(Fake { works: works.1, told: told.0 });
        (Driver::deliver_to(fake, delivery, &drained).unwrap(), works.0, told.1)
    }

    fn text(message: &Message) -> String {
        String::from_utf8(message.text.clone()).unwrap()
    }

    /// Room for two of the records.
    const ROOM: u64 = 2 * (6 + MESSAGE_OVERHEAD_BYTES);

    #[test]
    fn what_waits_while_a_destination_is_away_is_delivered_in_order() {
        let (driver, works, told) = start(DELIVERY);
        driver.push(&records(3));
        driver.close();
        assert!(!driver.is_finished());
        drop(works);
        let texts: Vec<String> = told.iter().map(|message| text(&message)).collect();
        assert_eq!(texts, ["line 0", "line 1", "line 2"]);
        while !driver.is_finished() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_told() {
        let (driver, works, told) = start(Delivery { blocks: false, buffer_bytes_max: ROOM });
        driver.push(&records(5));
        assert!(!driver.is_full(), "the container never waits");
        driver.close();
        drop(works);
        let texts: Vec<String> = told.iter().map(|message| text(&message)).collect();
        let told = texts.iter().filter(|text| text.contains("3 messages are missing"));
        assert_eq!(told.count(), 1, "{texts:?}");
        let lines: Vec<&String> = texts.iter().filter(|text| text.starts_with("line")).collect();
        assert_eq!(lines, ["line 0", "line 1"]);
    }

    #[test]
    fn one_that_blocks_drops_nothing_and_says_that_it_is_full() {
        let (driver, works, told) = start(Delivery { blocks: true, buffer_bytes_max: ROOM });
        driver.push(&records(5));
        assert!(driver.is_full());
        driver.close();
        drop(works);
        assert_eq!(told.iter().count(), 5);
        assert!(!driver.is_full());
    }
}
