//! The tasks that may ask, by what they ask with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use loadline_model::TaskArn;

use crate::task::Task;

#[derive(Debug, Default)]
struct Shelves {
    tasks: BTreeMap<TaskArn, Arc<Task>>,
    by_endpoint: BTreeMap<String, (TaskArn, usize)>,
    by_credentials: BTreeMap<String, TaskArn>,
    by_address: BTreeMap<IpAddr, TaskArn>,
}

/// Shared by the tasks' actors, which publish, and the server. The lock is held for a look only,
/// never across an await.
#[derive(Debug, Default)]
pub struct Directory {
    shelves: Mutex<Shelves>,
    serves_host: AtomicBool,
}

impl Directory {
    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a task as it now is; one that has stopped is shown no more.
    pub fn publish(&self, task: &Task) {
        let mut shelves = self.lock();
        let arn = &task.spec.arn;
        if task.is_stopped() {
            shelves.remove(arn);
            return;
        }
        for (at, id) in task.network.endpoints.iter().enumerate() {
            shelves.by_endpoint.insert(id.clone(), (arn.clone(), at));
        }
        if let Some(id) = &task.network.credentials {
            shelves.by_credentials.insert(id.clone(), arn.clone());
        }
        for address in task.network.addresses() {
            shelves.by_address.insert(address, arn.clone());
        }
        shelves.tasks.insert(arn.clone(), Arc::new(task.clone()));
    }

    /// The task and container with this id in their addresses.
    #[must_use]
    pub fn endpoint(&self, id: &str) -> Option<(Arc<Task>, usize)> {
        let shelves = self.lock();
        let (arn, at) = shelves.by_endpoint.get(id)?;
        Some((Arc::clone(shelves.tasks.get(arn)?), *at))
    }

    /// The task with this id in the address of its credentials.
    #[must_use]
    pub fn credentials(&self, id: &str) -> Option<Arc<Task>> {
        let shelves = self.lock();
        shelves.tasks.get(shelves.by_credentials.get(id)?).cloned()
    }

    /// The task that has this address.
    #[must_use]
    pub fn at_address(&self, address: IpAddr) -> Option<TaskArn> {
        self.lock().by_address.get(&address).cloned()
    }

    /// Every task that has not stopped.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Task>> {
        self.lock().tasks.values().cloned().collect()
    }

    /// Whether tasks on the host's network are answered.
    #[must_use]
    pub fn serves_host(&self) -> bool {
        self.serves_host.load(Ordering::Relaxed)
    }

    /// Says that they are.
    pub fn set_serves_host(&self) {
        self.serves_host.store(true, Ordering::Relaxed);
    }
}

impl Shelves {
    fn remove(&mut self, arn: &TaskArn) {
        let Some(task) = self.tasks.remove(arn) else { return };
        for id in &task.network.endpoints {
            self.by_endpoint.remove(id);
        }
        if let Some(id) = &task.network.credentials {
            self.by_credentials.remove(id);
        }
        for address in task.network.addresses() {
            self.by_address.remove(&address);
        }
    }
}
