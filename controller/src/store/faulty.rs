//! A disk in memory that can lose power and fill up: what was not synced is then gone, or a write
//! fails as on a full disk. Tests run the real redb on it.

use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::RedbStore;

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// What survives.
    durable: Vec<u8>,
    /// What a reader sees now.
    now: Vec<u8>,
    /// Bytes that the disk holds at most; 0 for no bound.
    bytes_max: u64,
    /// Whether a sync fails.
    broken: bool,
    syncs: u64,
    /// How many more writes and syncs succeed before one fails, and the disk is broken from then.
    good_steps: Option<u64>,
    /// Whether the step that fails does its work all the same, as a disk does whose answer is lost.
    fails_late: bool,
}

impl Inner {
    /// Counts a step; says whether it fails.
    fn step_fails(&mut self) -> bool {
        if let Some(left) = self.good_steps {
            self.good_steps = left.checked_sub(1);
            self.broken |= self.good_steps.is_none();
        }
        self.broken
    }
}

impl Disk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Everything that was not synced is gone.
    pub(crate) fn lose_power(&self) {
        let mut inner = self.inner();
        inner.now = inner.durable.clone();
    }

    /// Another disk, with what this one would have kept had the power gone now.
    pub(crate) fn as_after_power_loss(&self) -> Self {
        let durable = self.inner().durable.clone();
        let now = durable.clone();
        Self(Arc::new(Mutex::new(Inner { durable, now, ..Inner::default() })))
    }

    /// From now on the disk does not grow.
    pub(crate) fn fill_up(&self) {
        let mut inner = self.inner();
        inner.bytes_max = inner.now.len() as u64;
        inner.broken = true;
    }

    /// After this many more writes and syncs the next one fails, and all after it; if `late`, that
    /// one is done all the same.
    pub(crate) fn break_after(&self, steps: u64, late: bool) {
        let mut inner = self.inner();
        (inner.good_steps, inner.fails_late) = (Some(steps), late);
    }

    /// There is room again, and nothing fails.
    pub(crate) fn make_room(&self) {
        let mut inner = self.inner();
        (inner.bytes_max, inner.broken, inner.good_steps) = (0, false, None);
    }

    /// How often a sync was asked for.
    pub(crate) fn syncs(&self) -> u64 {
        self.inner().syncs
    }

    /// A store on this disk.
    pub(crate) fn store(&self) -> RedbStore {
        RedbStore::with("a disk in memory".to_owned(), Box::new(self.opener())).unwrap()
    }

    /// Opens what is on this disk.
    pub(crate) fn opener(&self) -> impl Fn() -> Result<Database, DatabaseError> + use<> {
        let disk = self.clone();
        move || Builder::new().create_with_backend(disk.clone())
    }
}

fn full() -> std::io::Error {
    std::io::ErrorKind::StorageFull.into()
}

type Done = Result<(), std::io::Error>;

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.inner().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Done {
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.inner().now[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Done {
        let mut inner = self.inner();
        if inner.bytes_max != 0 && inner.bytes_max < len {
            return Err(full());
        }
        inner.now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> Done {
        let mut inner = self.inner();
        inner.syncs += 1;
        let was_broken = inner.broken;
        let fails = inner.step_fails();
        if fails && (was_broken || !inner.fails_late) {
            return Err(full());
        }
        inner.durable = inner.now.clone();
        if fails { Err(full()) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Done {
        let mut inner = self.inner();
        let start = usize::try_from(offset).unwrap();
        let was_broken = inner.broken;
        let fails = inner.step_fails();
        if fails && (was_broken || !inner.fails_late) || inner.now.len() < start + data.len() {
            return Err(full());
        }
        inner.now[start..start + data.len()].copy_from_slice(data);
        if fails { Err(full()) } else { Ok(()) }
    }
}
