//! One call of Exec: the program's output goes up, its input comes down, until it has ended.

use std::time::Duration;

use loadline_proto::convert::{EXEC_DATA_BYTES_MAX, ExecEnd, ExecInput, ExecOutput, OpenExec};
use loadline_proto::v1;
use loadline_proto::v1::node_client::NodeClient;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::ExecPlace;
use super::program::{Program, Terminal, Writer};

/// Pieces of output that wait for the wire.
const OUTPUT_MAX: usize = 4;
/// How long output is awaited after the program's end: what it left in the background may hold it.
const DRAIN_MS: u64 = 200;
/// Most bytes that are read after the program's end; more than a pipe or a terminal holds.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;

type Outbox = mpsc::Sender<v1::ExecOutput>;

/// Runs it.
///
/// # Errors
/// Where the call did not come about.
pub(super) async fn run(
    mut client: NodeClient<Channel>,
    open: &OpenExec,
    place: &ExecPlace,
) -> Result<(), String> {
    let (outbox, outgoing) = mpsc::channel(OUTPUT_MAX);
    // The channel is new and empty: there is room.
    let _ = outbox.try_send(ExecOutput::Opened(open.exec.clone()).into());
    let call = client.exec(ReceiverStream::new(outgoing)).await;
    let incoming = call.map_err(|status| format!("Exec was refused: {}", status.message()))?;
    let incoming = incoming.into_inner();
    tracing::info!(task = %open.task, container = %open.container, exec = %open.exec,
        program = %open.command[0], "runs a program in a container");
    match start(open, place).await {
        Ok(program) => relay(program, incoming, outbox).await,
        Err(why) => finish(ExecEnd::Failed(why), incoming, outbox).await,
    }
    Ok(())
}

async fn start(open: &OpenExec, place: &ExecPlace) -> Result<Program, String> {
    let program = Program::spawn(open, place);
    let mut program = program.map_err(|error| format!("run {}: {error}", place.front.display()))?;
    if let Err(why) = program.begun().await {
        program.end().await;
        return Err(why);
    }
    Ok(program)
}

async fn relay(mut program: Program, incoming: Streaming<v1::ExecInput>, outbox: Outbox) {
    let (ended, is_over) = watch::channel(false);
    let mut readers = JoinSet::new();
    if let Some(stdout) = program.stdout.take() {
        readers.spawn(pass_up(stdout, ExecOutput::Stdout, outbox.clone(), is_over.clone()));
    }
    if let Some(stderr) = program.take_stderr() {
        readers.spawn(pass_up(stderr, ExecOutput::Stderr, outbox.clone(), is_over.clone()));
    }
    let (stdin, terminal) = (program.stdin.take(), program.terminal.take());
    let input = Input { stdin, terminal, is_over };
    let mut input = tokio::spawn(input.pass_down(incoming));
    let code = tokio::select! {
        code = program.wait() => Some(code),
        () = outbox.closed() => None,
        _ = &mut input => None,
    };
    let Some(code) = code else {
        // Nobody is there any more: its terminal or its pipes are closed.
        input.abort();
        readers.shutdown().await;
        program.end().await;
        return;
    };
    // An error means that no reader is left.
    let _ = ended.send(true);
    while readers.join_next().await.is_some() {}
    let end = match code {
        Ok(Some(code)) => ExecEnd::Code(code),
        Ok(None) => ExecEnd::Failed("the runtime was killed: nobody knows the exit code".into()),
        Err(error) => ExecEnd::Failed(format!("wait for the runtime: {error}")),
    };
    // An error means that nobody is there to be told.
    let _ = outbox.send(ExecOutput::End(end).into()).await;
    drop(outbox);
    // A call that is left before the other side has read it all is cut.
    let _ = input.await;
}

/// Tells the end of what never ran.
async fn finish(end: ExecEnd, incoming: Streaming<v1::ExecInput>, outbox: Outbox) {
    // An error means that nobody is there to be told.
    let _ = outbox.send(ExecOutput::End(end).into()).await;
    drop(outbox);
    let (_, is_over) = watch::channel(true);
    Input { stdin: None, terminal: None, is_over }.pass_down(incoming).await;
}

/// Reads to the end, as fast as the other side takes it.
async fn pass_up(
    mut from: impl AsyncRead + Unpin,
    kind: fn(Vec<u8>) -> ExecOutput,
    outbox: Outbox,
    is_over: watch::Receiver<bool>,
) {
    let mut late = 0;
    // Once for all that comes late: what writes on and on must not keep the call.
    let mut overdue = std::pin::pin!(overdue(is_over.clone()));
    while late < DRAIN_BYTES_MAX {
        let mut bytes = vec![0; EXEC_DATA_BYTES_MAX];
        let read = tokio::select! {
            biased;
            read = from.read(&mut bytes) => read,
            () = &mut overdue => return,
        };
        // A terminal whose other side is closed gives EIO.
        let Ok(length @ 1..) = read else { return };
        bytes.truncate(length);
        if *is_over.borrow() {
            late += length;
        }
        if outbox.send(kind(bytes).into()).await.is_err() {
            return;
        }
    }
}

/// A while after the program's end.
async fn overdue(mut is_over: watch::Receiver<bool>) {
    // An error means that the program was let go.
    let _ = is_over.wait_for(|over| *over).await;
    tokio::time::sleep(Duration::from_millis(DRAIN_MS)).await;
}

struct Input {
    stdin: Option<Writer>,
    terminal: Option<Terminal>,
    is_over: watch::Receiver<bool>,
}

impl Input {
    /// Until the controller has no more to say.
    async fn pass_down(mut self, mut incoming: Streaming<v1::ExecInput>) {
        while let Ok(Some(wire)) = incoming.message().await {
            match ExecInput::try_from(wire) {
                Ok(ExecInput::Stdin(bytes)) => self.write(&bytes).await,
                // A terminal has no end that one could tell it from here.
                Ok(ExecInput::StdinEnd) if self.terminal.is_none() => self.stdin = None,
                Ok(ExecInput::StdinEnd) => {}
                Ok(ExecInput::Resize(size)) => self.resize(size),
                Err(invalid) => {
                    tracing::warn!(%invalid, "input for a program is not understood");
                    return;
                }
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        let Some(stdin) = &mut self.stdin else { return };
        let written = async {
            stdin.write_all(bytes).await?;
            stdin.flush().await
        };
        let is_taken = tokio::select! {
            written = written => written.is_ok(),
            // What it left in the background may hold its input, and never read it.
            _ = self.is_over.wait_for(|over| *over) => false,
        };
        // A program that reads no more does not care for the rest.
        if !is_taken {
            self.stdin = None;
        }
    }

    fn resize(&self, size: loadline_proto::convert::WindowSize) {
        if let Some(terminal) = &self.terminal
            && let Err(error) = terminal.resize(size)
        {
            tracing::debug!(%error, "a terminal keeps its size");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_writes_on_after_the_programs_end_does_not_keep_the_call() {
        let (mut far, near) = tokio::io::duplex(64);
        // A drop again and again, each long before the output counts as overdue.
        let drip = tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(DRAIN_MS / 20)).await;
            }
        });
        let (outbox, mut sent) = mpsc::channel(OUTPUT_MAX);
        let (ended, is_over) = watch::channel(false);
        let reading = tokio::spawn(pass_up(near, ExecOutput::Stdout, outbox, is_over));
        assert!(sent.recv().await.is_some());
        ended.send(true).unwrap();
        let all_read = async { while sent.recv().await.is_some() {} };
        tokio::time::timeout(PATIENCE, all_read).await.expect("it is read for ever");
        reading.await.unwrap();
        drip.await.unwrap();
    }

    #[tokio::test]
    async fn input_that_nobody_reads_does_not_outlive_the_program() {
        let (_far, near) = tokio::io::duplex(1);
        let (ended, is_over) = watch::channel(false);
        let mut input = Input { stdin: Some(Box::new(near)), terminal: None, is_over };
        let writing = tokio::spawn(async move {
            input.write(b"more than fits").await;
            input.stdin.is_none()
        });
        ended.send(true).unwrap();
        let let_go = tokio::time::timeout(PATIENCE, writing).await.expect("it waits for ever");
        assert!(let_go.unwrap(), "it is closed");
    }
}
