//! A slow and lossy network between the simulated nodes and their controller, for real TCP
//! connections: a relay that holds back what goes through it.
//!
//! ```text
//!  node ─▶ read ─▶ due: after what came before, latency, jitter, a retransmission a loss ─▶ write
//! ```
//!
//! TCP hides a loss behind a retransmission, so a loss here is a delay too, of the time that Linux
//! waits at least before it sends again, doubled each time.

use std::time::Duration;

use anyhow::Context as _;
use rand::Rng as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Pieces that wait in one direction of a connection.
const QUEUE_MAX: usize = 64;

/// Largest piece that is delayed as one, in bytes: about what a packet carries.
const PIECE_BYTES: usize = 1_400;

/// Linux waits as long as this at least before it sends again (TCP_RTO_MIN).
const RETRANSMIT_MS: u64 = 200;

/// Losses of one piece in a row.
const LOSSES_MAX: u32 = 6;

/// What the network is like, one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weather {
    pub(super) latency_ms: u64,
    /// Added at random, up to this.
    pub(super) jitter_ms: u64,
    /// Pieces of a hundred that are lost.
    pub(super) loss_percent: u32,
}

impl Weather {
    pub(super) fn is_fair(self) -> bool {
        self == Self::default()
    }

    /// How long a piece is under way: `jitter` from 0 to 1, and how often it was lost.
    fn delay(self, jitter: f64, losses: u32) -> Duration {
        let latency = Duration::from_millis(self.latency_ms);
        let jitter = Duration::from_millis(self.jitter_ms).mul_f64(jitter);
        // 200 ms, 400 ms, ...: together this.
        let waiting = RETRANSMIT_MS * ((1 << losses.min(LOSSES_MAX)) - 1);
        latency + jitter + Duration::from_millis(waiting)
    }
}

/// Listens on loopback and leads to `controller`; where it listens.
pub(super) async fn start(controller: String, weather: Weather) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the relay")?;
    let address = listener.local_addr().context("name the relay's port")?.to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(lead(near, controller.clone(), weather));
        }
    });
    Ok(address)
}

async fn lead(near: TcpStream, controller: String, weather: Weather) {
    // Who can't be reached through a network without delays can't here: the node sees the end.
    let Ok(far) = TcpStream::connect(controller).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(carry(near_in, far_out, weather), carry(far_in, near_out, weather));
}

/// One direction, to its end.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin + Send + 'static,
    weather: Weather,
) {
    let (pieces, queue) = mpsc::channel(QUEUE_MAX);
    let writing = tokio::spawn(deliver(to, queue));
    let mut due = Instant::now();
    let mut bytes = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let (jitter, losses) = chance(weather.loss_percent);
        // TCP keeps the order: what is late holds up what follows.
        due = due.max(Instant::now() + weather.delay(jitter, losses));
        if pieces.send((due, bytes[..length].to_vec())).await.is_err() {
            break;
        }
    }
    drop(pieces);
    // What is still under way arrives.
    let _ = writing.await;
}

fn chance(loss_percent: u32) -> (f64, u32) {
    let mut rng = rand::rng();
    let mut losses = 0;
    while losses < LOSSES_MAX && rng.random_range(0..100) < loss_percent {
        losses += 1;
    }
    (rng.random(), losses)
}

async fn deliver(mut to: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<(Instant, Vec<u8>)>) {
    while let Some((due, piece)) = queue.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_latency_jitter_and_retransmissions() {
        let weather = Weather { latency_ms: 50, jitter_ms: 10, loss_percent: 2 };
        let ms = |jitter, losses| weather.delay(jitter, losses).as_millis();
        assert_eq!((ms(0.0, 0), ms(1.0, 0), ms(0.0, 1), ms(0.0, 2)), (50, 60, 250, 650));
        assert_eq!(ms(0.0, 99), ms(0.0, LOSSES_MAX));
        assert!(Weather::default().is_fair() && !weather.is_fair());
    }

    #[tokio::test]
    async fn everything_arrives_in_order_and_no_sooner_than_it_may() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let echo = tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let weather = Weather { latency_ms: 40, jitter_ms: 5, loss_percent: 0 };
        let relay = start(address, weather).await.unwrap();
        let began = Instant::now();
        let mut stream = TcpStream::connect(relay).await.unwrap();
        let sent: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert!(received == sent, "{} bytes", received.len());
        assert!(Duration::from_millis(80) <= began.elapsed(), "there and back");
        echo.await.unwrap();
    }
}
