//! The owner: one thread, one inbox, one state.

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::publish::{Shared, Written};
use super::{BATCH_MAX, CallError, Clock, Message, Options};
use crate::apply::apply;
use crate::command::{Command, CreateCluster, Reconcile, Reply, Tick};
use crate::liveness::{self, Observed, Past, Rules, Verdict};
use crate::state::{ClusterName, IdSource, NodeStatus, Scope, State, View, Write};
use crate::store::{Records, Store, load, mutations};

/// Between two attempts to open a failed store again, milliseconds.
const RECOVER_EVERY_MS: u64 = 1_000;
/// Most services that one commit looks at; the others come with the next.
const LOOKS_PER_COMMIT_MAX: usize = 1_000;

pub(super) struct Owner {
    store: Box<dyn Store>,
    health: Health,
    state: State,
    shared: Arc<Shared>,
    scope: Scope,
    rules: Rules,
    clock: Arc<dyn Clock>,
    ids: Box<dyn IdSource + Send>,
    tick_ms: u64,
    /// Of the records' clock, which may jump back; what `apply` sees does not.
    now_ms: u64,
    past: Past,
}

/// Whether the store takes commits.
enum Health {
    Good,
    /// Since a commit failed; the state in memory is not to be trusted until it is read anew.
    Failed {
        why: String,
        /// Of the clock by which nodes are heard.
        since_ms: u64,
        next_try_ms: u64,
    },
}

type Answer = oneshot::Sender<Result<Reply, CallError>>;

/// A command that was decided and waits for the commit. A refusal waits too: it may come from what
/// another command of the same commit did.
struct Decided {
    answer: Option<Answer>,
    result: Result<Reply, CallError>,
}

impl Owner {
    pub(super) fn new(
        store: Box<dyn Store>,
        mut state: State,
        shared: Arc<Shared>,
        options: Options,
    ) -> Self {
        state.settings = options.services;
        let past = Past::new(options.clock.hearing_ms());
        Self {
            store,
            health: Health::Good,
            state,
            shared,
            scope: options.scope,
            rules: options.rules,
            now_ms: options.clock.unix_ms(),
            clock: options.clock,
            ids: options.ids,
            tick_ms: options.tick_ms,
            past,
        }
    }

    /// Until a stop message, or until nobody is left who could send one.
    pub(super) fn run(mut self, inbox: &Receiver<Message>, fresh: bool) {
        if fresh {
            let cluster = ClusterName::parse("default").expect("it is plain");
            self.batch(vec![(CreateCluster { cluster, tags: Vec::new() }.into(), None)]);
        }
        let mut next_tick_ms = self.clock.steady_ms();
        loop {
            let wait_ms = next_tick_ms.saturating_sub(self.clock.steady_ms());
            let first = match inbox.recv_timeout(Duration::from_millis(wait_ms)) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Collected { commands, backups, stop } = collect(first, inbox);
            if !commands.is_empty() {
                self.batch(commands);
            }
            for answer in backups {
                // A caller that no longer waits is no error.
                let _ = answer.send(self.records());
            }
            if stop {
                return;
            }
            if next_tick_ms <= self.clock.steady_ms() {
                let more = self.tick();
                let pause_ms = if more { 0 } else { self.tick_ms };
                next_tick_ms = self.clock.steady_ms() + pause_ms;
            }
        }
    }

    fn records(&mut self) -> Result<Records, CallError> {
        self.ready()?;
        self.with_store(|store| store.records()).map_err(|error| CallError::Store(chain(&error)))
    }

    /// Works with the store, which may take long: what nodes say is heard meanwhile, but a session
    /// that broke has no successor before the owner is back.
    fn with_store<T>(&mut self, work: impl FnOnce(&mut dyn Store) -> T) -> T {
        let began_ms = self.clock.hearing_ms();
        let done = work(self.store.as_mut());
        let took_ms = self.clock.hearing_ms().saturating_sub(began_ms);
        if self.rules.lease_ms < took_ms {
            tracing::warn!(took_ms, "the store took long: no node is lost for a while");
            self.was_away(began_ms);
        }
        done
    }

    fn was_away(&mut self, began_ms: u64) {
        self.past.was_away(&self.rules, began_ms, self.clock.hearing_ms());
    }

    /// Decides commands one after the other, makes what they write durable at once, and only then
    /// shows it and answers. What is returned are the replies to our own commands, for which nobody
    /// waits.
    fn batch(&mut self, commands: Vec<(Command, Option<Answer>)>) -> Vec<Reply> {
        if let Err(error) = self.ready() {
            refuse_all(commands, &error);
            return Vec::new();
        }
        self.now_ms = self.now_ms.max(self.clock.unix_ms());
        let before = self.shared.view();
        let (mut decided, mut written) = (Vec::new(), Vec::new());
        for (command, answer) in commands {
            let applied = apply(&self.state, &command, self.now_ms, self.ids.as_mut());
            let result = applied.map_err(CallError::Refused).map(|(writes, reply)| {
                for write in &writes {
                    self.state.absorb(write);
                }
                if !writes.is_empty() {
                    written.push(Written { at_ms: self.now_ms, writes });
                }
                reply
            });
            decided.push(Decided { answer, result });
        }
        self.work_off_the_agenda(&mut written);
        let records = mutations(written.iter().flat_map(|written| &written.writes));
        if !records.is_empty()
            && let Err(error) = self.with_store(|store| store.commit(&records))
        {
            self.failed(&error, &before, decided);
            return Vec::new();
        }
        self.note_sessions(&written);
        self.shared.publish(&self.state.view, written);
        let mut replies = Vec::new();
        for Decided { answer, result } in decided {
            match answer {
                Some(_) => reply_to(answer, result),
                None => replies.extend(result.ok()),
            }
        }
        replies
    }

    /// Looks at the services that the commands touched, within the same commit.
    fn work_off_the_agenda(&mut self, written: &mut Vec<Written>) {
        for _ in 0..LOOKS_PER_COMMIT_MAX {
            let Some(key) = self.state.ledger.agenda().next().cloned() else { return };
            let look: Command = Reconcile { key: key.clone() }.into();
            if let Ok((writes, _)) = apply(&self.state, &look, self.now_ms, self.ids.as_mut()) {
                for write in &writes {
                    self.state.absorb(write);
                }
                written.push(Written { at_ms: self.now_ms, writes });
            }
            self.state.ledger.agenda_mut().done(&key);
        }
    }

    fn note_sessions(&self, written: &[Written]) {
        let sessions = written.iter().flat_map(|written| &written.writes).filter_map(|write| {
            let Write::Connection(node, connection) = write else { return None };
            Some((node, connection.as_ref()))
        });
        let mut hearts = None;
        for (node, connection) in sessions {
            let hearts = hearts.get_or_insert_with(|| self.shared.hearts());
            hearts.session(node, connection, self.clock.hearing_ms());
        }
    }

    fn failed(&mut self, error: &dyn Error, before: &View, decided: Vec<Decided>) {
        let why = chain(error);
        tracing::error!(error = %why, "the store failed, changes are refused until it works again");
        // The view goes back to what readers see; the ledger does not, and is not used before the
        // state has been read anew.
        self.state.view = before.clone();
        // Before anybody hears of it: the pause counts from the failure.
        let next_try_ms = self.clock.steady_ms() + RECOVER_EVERY_MS;
        let since_ms = self.clock.hearing_ms();
        self.health = Health::Failed { why: why.clone(), since_ms, next_try_ms };
        for decided in decided {
            reply_to(decided.answer, Err(CallError::Store(why.clone())));
        }
    }

    /// Whether commands can be decided; tries to come back from a failure when it is time.
    fn ready(&mut self) -> Result<(), CallError> {
        let Health::Failed { why, since_ms, next_try_ms } = &self.health else { return Ok(()) };
        let since_ms = *since_ms;
        let now_ms = self.clock.steady_ms();
        if now_ms < *next_try_ms {
            return Err(CallError::Store(why.clone()));
        }
        let read = match self.store.recover() {
            Ok(()) => load(self.store.as_mut(), &self.scope).map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        };
        match read {
            Ok(loaded) => {
                self.take_over(loaded.state, since_ms);
                Ok(())
            }
            Err(why) => {
                let next_try_ms = now_ms + RECOVER_EVERY_MS;
                self.health = Health::Failed { why: why.clone(), since_ms, next_try_ms };
                Err(CallError::Store(why))
            }
        }
    }

    /// Goes on with the state as the disk has it, and with the sessions as they are.
    fn take_over(&mut self, mut state: State, failed_ms: u64) {
        for (arn, entry) in &self.state.view.nodes {
            if let Some(connection) = &entry.connection {
                state.absorb(&Write::Connection(arn.clone(), Some(connection.clone())));
            }
        }
        // Also those of sessions that have ended: a number that came again would let an old
        // session speak for a new one.
        state.ledger.sessions_until(self.state.ledger.last_session());
        state.settings = self.state.settings;
        self.state = state;
        self.health = Health::Good;
        self.was_away(failed_ms);
        self.shared.republish(self.state.view.clone());
        tracing::info!("the store works again");
    }

    /// Judges the nodes and lets time do its work. Whether there is more to do at once.
    fn tick(&mut self) -> bool {
        // While no session can begin, and just after, nobody is judged by their silence.
        if self.ready().is_err() {
            return false;
        }
        let verdict = self.judge();
        self.past = verdict.past;
        let tick = Tick { silent: verdict.silent, lost: verdict.lost, given_up: verdict.given_up };
        let now_ms = self.now_ms.max(self.clock.unix_ms());
        self.state.ledger.agenda_mut().tick(now_ms);
        let replies = self.batch(vec![(tick.into(), None)]);
        let more = replies.iter().any(|reply| matches!(reply, Reply::Ticked(t) if t.more));
        let healthy = matches!(self.health, Health::Good);
        healthy && (more || self.state.ledger.agenda().next().is_some())
    }

    fn judge(&self) -> Verdict {
        let now_ms = self.clock.hearing_ms();
        let hearts = self.shared.hearts();
        let view = &self.state.view;
        let judged =
            |node: &crate::state::Node| node.status != NodeStatus::Inactive && !node.agentless;
        let nodes = view.nodes.values().filter(|entry| judged(&entry.record));
        let observed: Vec<_> = nodes
            .map(|entry| Observed {
                node: &entry.record.arn,
                heard_ms: hearts.heard_ms(&entry.record.arn),
                connected: entry.agent_connected(),
                lost: entry.record.lost_at_ms.is_some(),
                has_live_tasks: 0 < entry.live_tasks,
            })
            .collect();
        liveness::judge(&self.rules, self.past, now_ms, &observed)
    }
}

/// What was in the inbox.
#[derive(Default)]
struct Collected {
    commands: Vec<(Command, Option<Answer>)>,
    backups: Vec<oneshot::Sender<Result<Records, CallError>>>,
    stop: bool,
}

/// The message that ended the wait and what else is there, up to a bound; and whether to stop.
fn collect(first: Option<Message>, inbox: &Receiver<Message>) -> Collected {
    let mut all = Collected::default();
    let mut next = first;
    while let Some(message) = next {
        match message {
            Message::Command(command, answer) => all.commands.push((*command, Some(answer))),
            Message::Backup(answer) => all.backups.push(answer),
            Message::Stop => return Collected { stop: true, ..all },
        }
        next = if all.commands.len() < BATCH_MAX { inbox.try_recv().ok() } else { None };
    }
    all
}

/// A caller that no longer waits is no error.
fn reply_to(answer: Option<Answer>, reply: Result<Reply, CallError>) {
    if let Some(answer) = answer {
        let _ = answer.send(reply);
    }
}

fn refuse_all(commands: Vec<(Command, Option<Answer>)>, error: &CallError) {
    for (_, answer) in commands {
        reply_to(answer, Err(error.clone()));
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
