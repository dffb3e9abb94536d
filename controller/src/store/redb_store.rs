//! The embedded engine: one redb file, one write transaction a commit, one fsync each.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use redb::{TableError, WriteTransaction};

use super::{Mutation, Store, StoreError, Table, Visit};

/// Most memory that redb keeps pages in. All records are in our own memory already; only pages on
/// the way to the disk profit.
const CACHE_BYTES_MAX: usize = 64 << 20;

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// A store in a redb file.
pub struct RedbStore {
    name: String,
    opener: Opener,
    /// `None` only after a failed [`Store::recover`].
    database: Option<Database>,
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the file, and makes it, readable by its owner only, where it is missing. A second
    /// process that opens it is refused.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path).map_err(|source| StoreError {
            step: "create",
            object: path.display().to_string(),
            source: Box::new(source),
        })?;
        let file = PathBuf::from(path);
        let opener = move || Builder::new().set_cache_size(CACHE_BYTES_MAX).create(&file);
        Self::with(path.display().to_string(), Box::new(opener))
    }

    /// A store on any redb backend, for tests that break it.
    pub(crate) fn with(name: String, opener: Opener) -> Result<Self, StoreError> {
        let mut store = Self { name, opener, database: None };
        store.recover()?;
        Ok(store)
    }

    fn fail<E>(&self, step: &'static str) -> impl FnOnce(E) -> StoreError
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let object = self.name.clone();
        move |source| StoreError { step, object, source: Box::new(source) }
    }

    fn database(&self) -> Result<&Database, StoreError> {
        let closed = std::io::Error::other("it could not be opened again after a failure");
        self.database.as_ref().ok_or_else(|| self.fail("use")(closed))
    }
}

impl Store for RedbStore {
    fn scan(&mut self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let read = self.database()?.begin_read().map_err(self.fail("begin to read"))?;
        let rows = match read.open_table(definition(table)) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(self.fail("open a table of")(error)),
        };
        for row in rows.iter().map_err(self.fail("read"))? {
            let (key, value) = row.map_err(self.fail("read"))?;
            if !visit(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&mut self, mutations: &[Mutation]) -> Result<(), StoreError> {
        let write = self.database()?.begin_write().map_err(self.fail("begin to write"))?;
        apply(&write, mutations).map_err(self.fail("write to"))?;
        write.commit().map_err(self.fail("commit to"))
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        // The old handle must be gone first: it holds the file's lock.
        self.database = None;
        self.database = Some((self.opener)().map_err(self.fail("open"))?);
        Ok(())
    }
}

/// Mutations come sorted into runs of one table by nobody, so each table is opened once, in turn.
fn apply(write: &WriteTransaction, mutations: &[Mutation]) -> Result<(), redb::Error> {
    for table in Table::ALL {
        let mut of_table = mutations.iter().filter(|m| m.table == table).peekable();
        if of_table.peek().is_none() {
            continue;
        }
        let mut rows = write.open_table(definition(table))?;
        for mutation in of_table {
            match &mutation.value {
                Some(value) => {
                    rows.insert(mutation.key.as_slice(), value.as_slice())?;
                }
                None => {
                    rows.remove(mutation.key.as_slice())?;
                }
            }
        }
    }
    Ok(())
}

const fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// Makes file and folder for root's eyes only, and their names durable.
fn make_private(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
