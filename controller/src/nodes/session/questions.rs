//! Questions that were sent to the agent and wait for its answer.

use std::collections::BTreeMap;

use loadline_proto::v1::{LogChunk, ReadLogs};
use tokio::sync::oneshot;

use crate::nodes::relay::{EVENTS_MAX, LogQuestion, QUESTIONS_MAX, WAIT_MS_MAX};

/// Numbers questions and finds whom an answer is for.
#[derive(Debug, Default)]
pub(super) struct Questions {
    newest: u64,
    waiting: BTreeMap<u64, oneshot::Sender<LogChunk>>,
}

impl Questions {
    /// What to send; `None` where nobody waits for the answer any more, or too many questions
    /// have none yet: the asker then learns that there is no answer.
    pub(super) fn ask(&mut self, question: LogQuestion) -> Option<ReadLogs> {
        self.waiting.retain(|_, answer| !answer.is_closed());
        if question.answer.is_closed() || QUESTIONS_MAX <= self.waiting.len() {
            return None;
        }
        self.newest += 1;
        self.waiting.insert(self.newest, question.answer);
        let query = question.query;
        Some(ReadLogs {
            request_id: self.newest,
            task_arn: query.task.into(),
            container_name: query.container.into(),
            cursor: query.cursor,
            events_max: query.events_max.clamp(1, EVENTS_MAX),
            wait_ms: query.wait_ms.min(WAIT_MS_MAX),
            since_ms: query.since_ms,
        })
    }

    /// Hands an answer to whom it is for. One that came too late, or that nobody asked for, is
    /// dropped.
    pub(super) fn answer(&mut self, chunk: LogChunk) {
        if let Some(answer) = self.waiting.remove(&chunk.request_id) {
            // An error means that the asker has gone.
            let _ = answer.send(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use loadline_model::{ContainerName, TaskArn};

    use super::*;
    use crate::nodes::relay::LogQuery;

    fn question() -> (LogQuestion, oneshot::Receiver<LogChunk>) {
        let (answer, answered) = oneshot::channel();
        let query = LogQuery {
            task: TaskArn::parse("arn:aws:ecs:r:1:task/default/1").unwrap(),
            container: ContainerName::parse("main").unwrap(),
            cursor: String::new(),
            events_max: 5000,
            wait_ms: 90_000,
            since_ms: 0,
        };
        (LogQuestion { query, answer }, answered)
    }

    #[test]
    fn an_answer_finds_its_asker_by_number() {
        let mut questions = Questions::default();
        let (first, mut first_answer) = question();
        let (second, mut second_answer) = question();
        let read = questions.ask(first).unwrap();
        assert_eq!((read.request_id, read.events_max, read.wait_ms), (1, 1000, 20_000));
        assert_eq!(questions.ask(second).unwrap().request_id, 2);
        let chunk = |request_id| LogChunk { request_id, ..LogChunk::default() };
        questions.answer(chunk(99));
        questions.answer(chunk(2));
        assert_eq!(second_answer.try_recv().unwrap().request_id, 2);
        assert!(first_answer.try_recv().is_err());
        questions.answer(chunk(1));
        assert_eq!(first_answer.try_recv().unwrap().request_id, 1);
    }

    #[test]
    fn questions_without_an_answer_are_bounded() {
        let mut questions = Questions::default();
        let mut askers = Vec::new();
        for _ in 0..QUESTIONS_MAX {
            let (asked, answer) = question();
            assert!(questions.ask(asked).is_some());
            askers.push(answer);
        }
        let (over, mut none) = question();
        assert!(questions.ask(over).is_none());
        assert!(none.try_recv().is_err());
        askers.pop();
        let (left, answer) = question();
        drop(answer);
        assert!(questions.ask(left).is_none(), "its asker has gone");
        let (next, _answer) = question();
        assert!(questions.ask(next).is_some());
    }
}
