//! What tasks ask and only the controller knows: on its way to the session, and back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loadline_model::TaskArn;
use loadline_proto::convert::{TaskAnswer, TaskAsk, TaskQuestion, TaskTold};
use tokio::sync::{Notify, oneshot};

/// Most questions that wait to be sent, and most that wait for an answer.
pub const QUESTIONS_MAX: usize = 32;
/// How long a task waits (the ECS agent: four seconds).
const WAIT_MAX: Duration = Duration::from_secs(4);

/// A question that somebody waits for the answer of.
#[derive(Debug)]
pub struct Pending {
    task: TaskArn,
    ask: TaskAsk,
    answer: oneshot::Sender<TaskTold>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Too many others wait.
    #[error("{QUESTIONS_MAX} questions wait for the controller already: try again")]
    Busy,
    /// No session, or a controller that does not know such questions.
    #[error("the controller did not answer in time: try again")]
    Silent,
}

/// Shared by whoever asks, and the session. The lock is held for a look only.
#[derive(Debug, Default)]
pub struct Questions {
    waiting: Mutex<VecDeque<Pending>>,
    asked: Notify,
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Pending>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn ask(&self, task: &TaskArn, ask: TaskAsk) -> Result<TaskTold, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.lock();
            waiting.retain(|pending| !pending.answer.is_closed());
            if QUESTIONS_MAX <= waiting.len() {
                return Err(NoAnswer::Busy);
            }
            waiting.push_back(Pending { task: task.clone(), ask, answer });
        }
        self.asked.notify_one();
        let told = tokio::time::timeout(WAIT_MAX, answered).await;
        told.ok().and_then(Result::ok).ok_or(NoAnswer::Silent)
    }

    /// Returns once there may be something to send.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Everything that waits to be sent, if anybody still wants to know.
    pub fn take(&self) -> Vec<Pending> {
        let all: Vec<Pending> = self.lock().drain(..).collect();
        all.into_iter().filter(|pending| !pending.answer.is_closed()).collect()
    }
}

/// One session's questions that wait for their answers, by their numbers.
#[derive(Debug, Default)]
pub struct Asked {
    newest: u64,
    waiting: BTreeMap<u64, oneshot::Sender<TaskTold>>,
}

impl Asked {
    /// What to send; `None` where too many have no answer: the asker then learns that.
    pub fn note(&mut self, pending: Pending) -> Option<TaskQuestion> {
        self.waiting.retain(|_, answer| !answer.is_closed());
        if QUESTIONS_MAX <= self.waiting.len() {
            return None;
        }
        self.newest += 1;
        let Pending { task, ask, answer } = pending;
        self.waiting.insert(self.newest, answer);
        Some(TaskQuestion { request_id: self.newest, task, ask })
    }

    /// Hands an answer to whom it is for.
    pub fn answer(&mut self, answer: TaskAnswer) {
        if let Some(waiting) = self.waiting.remove(&answer.request_id) {
            // An error means that the asker has gone.
            let _ = waiting.send(answer.told);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_question_is_answered_once_and_what_waits_is_bounded() {
        let questions = Arc::new(Questions::default());
        let task = TaskArn::parse("arn:aws:ecs:r:1:task/default/1").unwrap();
        let asking = {
            let (questions, task) = (Arc::clone(&questions), task.clone());
            tokio::spawn(async move { questions.ask(&task, TaskAsk::Protection).await })
        };
        questions.asked().await;
        let [one] = <[Pending; 1]>::try_from(questions.take()).unwrap();
        let mut asked = Asked::default();
        let question = asked.note(one).unwrap();
        assert_eq!((&question.task, &question.ask), (&task, &TaskAsk::Protection));
        let told = TaskTold::Protection { enabled: true, expires_at_ms: Some(5) };
        asked.answer(TaskAnswer { request_id: 9, told: told.clone() });
        asked.answer(TaskAnswer { request_id: question.request_id, told: told.clone() });
        assert_eq!(asking.await.unwrap(), Ok(told));

        let all: Vec<_> = (0..QUESTIONS_MAX)
            .map(|_| {
                let (answer, answered) = oneshot::channel();
                questions.lock().push_back(Pending {
                    task: task.clone(),
                    ask: TaskAsk::About,
                    answer,
                });
                answered
            })
            .collect();
        assert_eq!(questions.ask(&task, TaskAsk::About).await, Err(NoAnswer::Busy));
        drop(all);
        let asking = {
            let (questions, task) = (Arc::clone(&questions), task.clone());
            tokio::spawn(async move { questions.ask(&task, TaskAsk::About).await })
        };
        while questions.lock().len() != 1 {
            tokio::task::yield_now().await;
        }
        drop(questions.take());
        let answer = asking.await.unwrap();
        assert_eq!(answer, Err(NoAnswer::Silent), "a session that ends answers nothing");
    }
}
