//! What every engine must do. An engine's own test calls [`check`] with a way to open it twice.

use super::{Mutation, Store, Table};

fn put(table: Table, key: &str, value: &str) -> Mutation {
    Mutation { table, key: key.into(), value: Some(value.into()) }
}

fn end(table: Table, key: &str) -> Mutation {
    Mutation { table, key: key.into(), value: None }
}

fn rows(store: &mut dyn Store, table: Table) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    store
        .scan(table, &mut |key, value| {
            rows.push((text(key), text(value)));
            true
        })
        .unwrap();
    rows
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Runs the suite; `open` opens the same store again each time, the one before dropped unclosed.
pub(crate) fn check(open: &mut dyn FnMut() -> Box<dyn Store>) {
    let mut store = open();
    for table in Table::ALL {
        assert_eq!(rows(&mut *store, table), [], "a new store is empty: {table:?}");
    }
    store.commit(&[]).unwrap();
    store.commit(&[put(Table::Tasks, "b", "1"), put(Table::Nodes, "b", "2")]).unwrap();
    store.commit(&[put(Table::Tasks, "a", ""), put(Table::Tasks, "b", "3")]).unwrap();
    drop(store);

    let mut store = open();
    assert_eq!(rows(&mut *store, Table::Tasks), pairs(&[("a", ""), ("b", "3")]), "in order");
    assert_eq!(rows(&mut *store, Table::Nodes), pairs(&[("b", "2")]), "tables are apart");
    store.commit(&[put(Table::Tasks, "c", "4"), end(Table::Tasks, "c")]).unwrap();
    store.commit(&[end(Table::Tasks, "a"), end(Table::Tasks, "never there")]).unwrap();
    store.recover().unwrap();
    assert_eq!(rows(&mut *store, Table::Tasks), pairs(&[("b", "3")]), "the later one counts");
    let mut seen = 0;
    store.commit(&[put(Table::Tasks, "d", "5")]).unwrap();
    store
        .scan(Table::Tasks, &mut |_, _| {
            seen += 1;
            false
        })
        .unwrap();
    assert_eq!(seen, 1, "a visitor that has enough is not called again");
    store.commit(&[put(Table::Meta, "large", &"x".repeat(4 << 20))]).unwrap();
    drop(store);
    assert_eq!(rows(&mut *open(), Table::Meta)[0].1.len(), 4 << 20, "a large value comes back");
}

mod tests {
    use std::path::Path;

    use super::super::RedbStore;
    use super::super::faulty::Disk;
    use super::*;

    #[test]
    fn redb_in_a_file_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("controller/store.redb");
        check(&mut || Box::new(RedbStore::open(&path).unwrap()));
    }

    #[test]
    fn redb_on_a_disk_that_loses_what_was_not_synced_conforms() {
        let disk = Disk::default();
        check(&mut || {
            disk.lose_power();
            Box::new(disk.store())
        });
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("controller/store.redb");
        let _store = RedbStore::open(&path).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_second_opener_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let _first = RedbStore::open(&path).unwrap();
        let error = RedbStore::open(&path).unwrap_err();
        assert!(error.to_string().starts_with("open "), "{error}");
    }
}
