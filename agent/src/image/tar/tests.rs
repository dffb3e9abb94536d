//! Archives read back: long names, PAX records, sparse maps, and what must not be believed.

use super::*;
use crate::image::testing::Archive;

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut data = Vec::new();
        let mut buffer = [0; 100];
        loop {
            match reader.read_data(&mut buffer)? {
                0 => break,
                count => data.extend_from_slice(&buffer[..count]),
            }
        }
        entries.push((entry, data));
    }
    Ok(entries)
}

/// The error of an archive, with its cause.
fn error(bytes: &[u8]) -> String {
    let error = read(bytes).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn long_names_come_from_gnu_records_and_from_pax_records() {
    let long = "d/".repeat(150) + "file";
    let gnu = Archive::new()
        .entry(EntryType::GNULongName, "././@LongLink", "", format!("{long}\0").as_bytes(), |_| {})
        .entry(EntryType::GNULongLink, "././@LongLink", "", b"target\0", |_| {})
        .symlink("short", "short");
    let entries = read(&gnu.bytes()).unwrap();
    assert_eq!(entries[0].0.path, long.as_bytes());
    assert_eq!(entries[0].0.link, b"target");
    let pax = Archive::new()
        .pax(&[("path", long.as_bytes()), ("mtime", b"-1.5"), ("uid", b"3000000000")])
        .file("short", "data");
    let entries = read(&pax.bytes()).unwrap();
    assert_eq!(entries[0].0.path, long.as_bytes());
    assert_eq!(entries[0].0.mtime, (-2, 500_000_000));
    assert_eq!((entries[0].0.uid, &entries[0].1[..]), (3_000_000_000, &b"data"[..]));
}

#[test]
fn a_file_whose_long_name_is_cut_behind_a_slash_is_no_directory() {
    let folder = "d".repeat(99) + "/";
    let long = format!("{folder}file");
    let archive = Archive::new()
        .entry(EntryType::GNULongName, "././@LongLink", "", format!("{long}\0").as_bytes(), |_| {})
        .file(&folder, "data")
        .pax(&[("path", long.as_bytes())])
        .file(&folder, "more");
    let entries = read(&archive.bytes()).unwrap();
    let seen: Vec<_> = entries.iter().map(|(e, data)| (e.kind, &e.path[..], &data[..])).collect();
    let expected =
        [(Kind::File, long.as_bytes(), &b"data"[..]), (Kind::File, long.as_bytes(), b"more")];
    assert_eq!(seen, expected);
}

#[test]
fn a_regular_entry_whose_whole_name_ends_with_a_slash_is_a_directory() {
    let long = "d".repeat(120) + "/";
    let archive = Archive::new()
        .file("short/", "")
        .entry(EntryType::GNULongName, "././@LongLink", "", format!("{long}\0").as_bytes(), |_| {})
        .file(&long[..100], "")
        .pax(&[("path", long.as_bytes())])
        .file("fake", "");
    let entries = read(&archive.bytes()).unwrap();
    let seen: Vec<_> = entries.iter().map(|(e, _)| (e.kind, &e.path[..])).collect();
    let long = (Kind::Directory, long.as_bytes());
    assert_eq!(seen, [(Kind::Directory, &b"short/"[..]), long, long]);
}

#[test]
fn records_are_for_the_next_entry_only() {
    let archive = Archive::new().pax(&[("path", b"renamed")]).file("a", "1").file("b", "2");
    let names: Vec<_> = read(&archive.bytes()).unwrap().into_iter().map(|(e, _)| e.path).collect();
    assert_eq!(names, [&b"renamed"[..], b"b"]);
}

#[test]
fn a_pax_sparse_file_has_its_map_in_front_of_its_data() {
    let mut data = b"2\n0\n3\n1000\n2\n".to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"abcde");
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"real"),
        ("GNU.sparse.realsize", b"2000"),
    ];
    let text = String::from_utf8(data).unwrap();
    // GNU tar's name for programs that do not know such files, cut where a header ends.
    let cut = format!("{}/GNUSparseFile.1234/", "d".repeat(80));
    assert_eq!(cut.len(), 100);
    for fake in ["fake", &cut] {
        let archive = Archive::new().pax(&records).file(fake, &text).file("next", "x");
        let entries = read(&archive.bytes()).unwrap();
        let (entry, data) = &entries[0];
        assert_eq!((&entry.path[..], entry.size, &data[..]), (&b"real"[..], 2000, &b"abcde"[..]));
        let segments = [Segment { offset: 0, bytes: 3 }, Segment { offset: 1000, bytes: 2 }];
        assert_eq!((entry.kind, entry.sparse.as_deref()), (Kind::File, Some(&segments[..])));
        assert_eq!(entries[1].0.path, b"next");
    }
}

#[test]
fn a_sparse_map_that_contradicts_itself_is_refused() {
    for map in ["0,3,2,2", "0,5,2000,1", "0,6", "18446744073709551615,5", "0", "1,x"] {
        let archive = Archive::new()
            .pax(&[("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", b"2000")])
            .file("sparse", "abcde");
        assert!(error(&archive.bytes()).contains("sparse map"), "{map}");
    }
}

#[test]
fn lengths_beyond_their_bounds_are_refused_before_they_are_read() {
    let huge = |kind| Archive::new().entry(kind, "huge", "", b"", |h| h.set_size(1 << 40)).bytes();
    assert_eq!(
        error(&huge(EntryType::GNULongName)),
        "the GNU long name at byte 0 is longer than 4096 bytes"
    );
    assert_eq!(
        error(&huge(EntryType::XHeader)),
        "the PAX header at byte 0 is longer than 1048576 bytes"
    );
    let name = vec![b'n'; 5000];
    let archive = Archive::new().pax(&[("path", &name)]).file("a", "");
    assert_eq!(error(&archive.bytes()), "the name at byte 5632 is longer than 4095 bytes");
}

#[test]
fn damage_is_named() {
    let mut bytes = Archive::new().file("a", "data").bytes();
    bytes[0] = b'b';
    assert!(error(&bytes).starts_with("the header at byte 0 has a wrong checksum"));
    let bytes = Archive::new().file("a", "data").bytes();
    assert!(error(&bytes[..514]).starts_with("read the archive at byte 51"));
    assert!(error(&bytes[..100]).starts_with("read the archive at byte 0"));
    let archive = Archive::new().pax(&[("path", b"a\0b")]).file("a", "");
    assert!(error(&archive.bytes()).ends_with("has a bad name"));
    let archive = Archive::new().entry(EntryType::new(b'M'), "a", "", b"", |_| {});
    assert_eq!(error(&archive.bytes()), "the entry at byte 0 is of the unknown type 'M'");
}

#[test]
fn an_archive_may_end_without_a_mark_or_padding() {
    let bytes = Archive::new().file("a", "data").bytes();
    assert_eq!(read(&bytes[..1024]).unwrap().len(), 1);
    assert_eq!(read(&bytes[..516]).unwrap().len(), 1);
}

/// An archive with every kind of record, and where its headers are.
fn everything() -> (Vec<u8>, Vec<usize>) {
    let mut map = b"1\n0\n3\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abc");
    let sparse: [(&str, &[u8]); 2] = [("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"2000")];
    let bytes = Archive::new()
        .entry(EntryType::GNULongName, "././@LongLink", "", b"long/name\0", |_| {})
        .file("short", "data")
        .pax(&[("path", b"renamed"), ("SCHILY.xattr.user.a", b"1"), ("mtime", b"1.5")])
        .hardlink("b", "short")
        .pax(&sparse)
        .file("sparse", std::str::from_utf8(&map).unwrap())
        .entry(EntryType::GNUSparse, "old", "", b"abc", |h| {
            let gnu = h.as_gnu_mut().unwrap();
            gnu.set_real_size(100);
            gnu.sparse[0].set_offset(7);
            gnu.sparse[0].set_length(3);
        })
        .bytes();
    let is_header = |at: &usize| bytes[*at + 257..].starts_with(b"ustar");
    let headers = (0..bytes.len() - 512).step_by(512).filter(is_header).collect();
    (bytes, headers)
}

#[test]
fn an_old_sparse_entry_has_its_map_in_its_header() {
    let (bytes, _) = everything();
    let entries = read(&bytes).unwrap();
    let (entry, data) = entries.last().unwrap();
    assert_eq!((entry.size, &data[..]), (100, &b"abc"[..]));
    assert_eq!(entry.sparse.as_deref(), Some(&[Segment { offset: 7, bytes: 3 }][..]));
}

proptest::proptest! {
    #[test]
    fn no_damage_makes_the_reader_panic_or_run_away(
        edits in proptest::collection::vec((0usize..8192, proptest::num::u8::ANY), 0..8),
        length in 0usize..8192,
        with_checksums in proptest::bool::ANY,
    ) {
        let (mut bytes, headers) = everything();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        for at in headers.into_iter().filter(|_| with_checksums) {
            let mut header = Header::from_byte_slice(&bytes[at..at + 512]).clone();
            header.set_cksum();
            bytes[at..at + 512].copy_from_slice(header.as_bytes());
        }
        bytes.truncate(length);
        // Each entry has a header: more of them than blocks would be a loop.
        if let Ok(entries) = read(&bytes) {
            proptest::prop_assert!(entries.len() <= bytes.len() / 512);
        }
    }
}
