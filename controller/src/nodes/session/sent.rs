//! What was sent and waits to be applied: decides what an `Applied` means.

use std::collections::VecDeque;

use loadline_model::Assignment;
use loadline_proto::convert::TaskSecrets;
use loadline_proto::{MESSAGE_BYTES_MAX, v1};
use prost::Message as _;

/// Most changes that may wait for an answer before the next one is sent.
const UNANSWERED_MAX: usize = 256;
/// Room that a part of a snapshot leaves for its own framing, in bytes.
const FRAMING_BYTES: usize = 1024;

/// Snapshots and changes without an answer, oldest first.
#[derive(Debug, Default)]
pub(super) struct Sent {
    unanswered: VecDeque<Item>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    generation: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Snapshot,
    Change,
}

/// What an agent's `Applied` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It holds that generation.
    Applied,
    /// It refused a change, and a snapshot that covers it is on its way already.
    SnapshotFollows,
    /// It refused a change; it has to get a snapshot.
    SnapshotNeeded(String),
    /// It refused the whole. There is no more to offer.
    SnapshotRefused(String),
    /// Nothing of that generation was waiting.
    Unexpected,
}

impl Sent {
    /// Whether another change may be sent now.
    pub(super) fn has_room(&self) -> bool {
        self.unanswered.len() < UNANSWERED_MAX
    }

    /// A snapshot was sent.
    pub(super) fn snapshot(&mut self, generation: u64) {
        self.unanswered.push_back(Item { generation, kind: Kind::Snapshot });
    }

    /// A change was sent.
    pub(super) fn change(&mut self, generation: u64) {
        self.unanswered.push_back(Item { generation, kind: Kind::Change });
    }

    /// An answer came. Answers come in the order of what was sent; an agent may answer several
    /// with the newest of them.
    pub(super) fn heard(&mut self, generation: u64, refused: Option<String>) -> Heard {
        let place = self.unanswered.iter().position(|item| item.generation == generation);
        let Some(place) = place else { return Heard::Unexpected };
        let answered = self.unanswered[place];
        self.unanswered.drain(..=place);
        let Some(why) = refused else { return Heard::Applied };
        if answered.kind == Kind::Snapshot {
            return Heard::SnapshotRefused(why);
        }
        let covers = |item: &Item| item.kind == Kind::Snapshot && generation <= item.generation;
        if self.unanswered.iter().any(covers) {
            Heard::SnapshotFollows
        } else {
            Heard::SnapshotNeeded(why)
        }
    }
}

/// A snapshot in parts of at most [`MESSAGE_BYTES_MAX`]; at least one, the last one marked.
pub(super) fn snapshot_parts(generation: u64, all: Vec<Assignment>) -> Vec<v1::Snapshot> {
    let mut parts = Vec::new();
    let mut part = v1::Snapshot { generation, assignments: Vec::new(), last: false };
    let mut bytes = FRAMING_BYTES;
    for assignment in all {
        let assignment = v1::Assignment::from(assignment);
        // A tag and a length of at most 5 bytes each (protobuf encoding, varint).
        let size = assignment.encoded_len() + 10;
        if MESSAGE_BYTES_MAX < bytes + size && !part.assignments.is_empty() {
            let next = v1::Snapshot { generation, assignments: Vec::new(), last: false };
            parts.push(std::mem::replace(&mut part, next));
            bytes = FRAMING_BYTES;
        }
        bytes += size;
        part.assignments.push(assignment);
    }
    part.last = true;
    parts.push(part);
    parts
}

/// What a node is told of a task's secrets. They go in one message: where they are too large for
/// it, that is the reason why the task can't have them.
pub(super) fn secrets_message(secrets: TaskSecrets) -> v1::TaskSecrets {
    let wire = v1::TaskSecrets::from(secrets);
    let (bytes, most) = (wire.encoded_len(), MESSAGE_BYTES_MAX - FRAMING_BYTES);
    if bytes <= most {
        return wire;
    }
    let error = format!(
        "ResourceInitializationError: the secrets and the variables of environment files of all \
         containers of the task have {bytes} bytes, and a node can be told {most}: give the task \
         fewer or shorter ones"
    );
    v1::TaskSecrets { task_arn: wire.task_arn, containers: Vec::new(), error: Some(error) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use loadline_model::{ContainerName, DesiredStatus, KeyValue, TaskArn, TaskSpec};

    use super::*;

    fn sent(items: &[(Kind, u64)]) -> Sent {
        let mut sent = Sent::default();
        for (kind, generation) in items {
            match kind {
                Kind::Snapshot => sent.snapshot(*generation),
                Kind::Change => sent.change(*generation),
            }
        }
        sent
    }

    #[test]
    fn an_answer_means_what_was_sent_with_its_generation() {
        use Kind::{Change, Snapshot};
        let no = || Some("no".to_owned());
        let mut plain = sent(&[(Snapshot, 4), (Change, 5), (Change, 6)]);
        assert_eq!(plain.heard(4, None), Heard::Applied);
        assert_eq!(plain.heard(6, None), Heard::Applied, "the newest answers for all before");
        assert_eq!(plain.heard(5, None), Heard::Unexpected);

        let mut refused = sent(&[(Change, 5), (Change, 6)]);
        assert_eq!(refused.heard(5, no()), Heard::SnapshotNeeded("no".to_owned()));
        refused.snapshot(6);
        assert_eq!(refused.heard(6, no()), Heard::SnapshotFollows, "sent before the snapshot");
        assert_eq!(refused.heard(6, no()), Heard::SnapshotRefused("no".to_owned()));
        assert_eq!(refused.heard(7, None), Heard::Unexpected);
    }

    #[test]
    fn changes_wait_when_too_many_are_unanswered() {
        let mut sent = Sent::default();
        (1..=UNANSWERED_MAX as u64).for_each(|generation| {
            assert!(sent.has_room());
            sent.change(generation);
        });
        assert!(!sent.has_room());
        assert_eq!(sent.heard(1, None), Heard::Applied);
        assert!(sent.has_room());
    }

    fn assignment(n: usize, family_bytes: usize) -> Assignment {
        let arn = format!("arn:aws:ecs:us-east-1:000000000000:task/default/{n}");
        let task = TaskSpec {
            family: "f".repeat(family_bytes),
            ..TaskSpec::new(TaskArn::parse(&arn).unwrap(), vec![])
        };
        Assignment { task, desired: DesiredStatus::Running, stop_reason: None }
    }

    #[test]
    fn a_snapshot_is_cut_into_parts_that_fit() {
        let parts = snapshot_parts(7, vec![]);
        assert_eq!(parts.len(), 1);
        assert!(parts[0].last && parts[0].assignments.is_empty() && parts[0].generation == 7);

        let parts = snapshot_parts(7, (0..10).map(|n| assignment(n, 1024 * 1024)).collect());
        assert_eq!(parts.iter().map(|p| p.assignments.len()).sum::<usize>(), 10);
        assert!(parts.iter().all(|p| p.encoded_len() <= MESSAGE_BYTES_MAX));
        let last: Vec<bool> = parts.iter().map(|p| p.last).collect();
        assert_eq!(last, [false, false, false, true]);
    }

    #[test]
    fn secrets_that_no_message_can_hold_are_the_reason_why_a_task_does_not_start() {
        let framing = |wire: &v1::TaskSecrets| {
            let kind = v1::controller_message::Kind::TaskSecrets(wire.clone());
            v1::ControllerMessage { kind: Some(kind) }.encoded_len()
        };
        let told = |count: usize| {
            // As large as a secret can be.
            let pair = |n| KeyValue { name: format!("S{n}"), value: "x".repeat(64 * 1024) };
            let app = ContainerName::parse("app").unwrap();
            let values = Ok(BTreeMap::from([(app, (0..count).map(pair).collect())]));
            let task = assignment(0, 1).task.arn;
            let wire = secrets_message(TaskSecrets { task: task.clone(), values });
            assert!(framing(&wire) <= MESSAGE_BYTES_MAX);
            let back = TaskSecrets::try_from(wire).unwrap();
            assert_eq!(back.task, task);
            back.values.map(|all| all.into_values().map(|own| own.len()).sum::<usize>())
        };
        assert_eq!(told(63), Ok(63));
        let why = told(64).unwrap_err();
        assert!(why.starts_with("ResourceInitializationError: "), "{why}");
    }
}
