//! Who a container runs as: names looked up in the image's own /etc/passwd and /etc/group.

use std::io;
use std::os::fd::BorrowedFd;

use crate::rooted::{self, Inside};

/// Largest /etc/passwd or /etc/group that is read, in bytes.
pub(super) const DATABASE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most supplementary groups of a process (Linux NGROUPS_MAX).
pub(super) const GROUPS_MAX: usize = 65_536;

/// Numbers to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups; the primary group is among them, so that a set-group-id program can't
    /// shed a group that denies something.
    pub additional_gids: Vec<u32>,
    /// Home directory, `/` where the image does not know the user.
    pub home: String,
}

/// Why a user could not be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name that the image does not have.
    #[error("the image's /etc/{database} has no {name:?}")]
    Unknown {
        /// `passwd` or `group`.
        database: &'static str,
        /// The name.
        name: String,
    },
    /// A number that no process can have.
    #[error("{text:?} is no user or group id: they go from 0 to 2147483647")]
    OutOfRange {
        /// The number as it is written.
        text: String,
    },
    /// More groups than a process can be in.
    #[error("{name:?} is in more than {GROUPS_MAX} groups")]
    TooManyGroups {
        /// The user.
        name: String,
    },
    /// The database can't be read.
    #[error("read the image's /etc/{database}")]
    Read {
        /// `passwd` or `group`.
        database: &'static str,
        /// The error.
        source: io::Error,
    },
}

/// Resolves `user`, `uid`, `user:group` or `uid:gid`; empty is root. A number that the image does
/// not know is taken as it is; a name must be known.
///
/// # Errors
/// [`UserError`].
pub(super) fn resolve(root: BorrowedFd<'_>, text: &str) -> Result<Identity, UserError> {
    let passwd = database(root, "passwd")?;
    let group = database(root, "group")?;
    decide(text, &String::from_utf8_lossy(&passwd), &String::from_utf8_lossy(&group))
}

/// The whole file; nothing where there is none.
fn database(root: BorrowedFd<'_>, database: &'static str) -> Result<Vec<u8>, UserError> {
    let path = format!("etc/{database}");
    let read = rooted::open_file(root, path.as_bytes(), Inside::AsRoot)
        .and_then(|file| rooted::read_max(file, DATABASE_BYTES_MAX));
    match read {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(Vec::new())
        }
        result => result.map_err(|source| UserError::Read { database, source }),
    }
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// The decision, given the text of both databases. Lines that are not in their form are skipped,
/// as libc does.
fn decide(text: &str, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let users: Vec<Passwd<'_>> = passwd.lines().filter_map(parse_passwd).collect();
    let number = id(user)?;
    // A name of digits wins over the number, as docker has it.
    let known = users
        .iter()
        .find(|entry| entry.name == user)
        .or_else(|| users.iter().find(|entry| Some(entry.uid) == number));
    let uid = match (known, number) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => {
            return Err(UserError::Unknown { database: "passwd", name: user.to_owned() });
        }
    };
    let groups: Vec<(&str, u32, &str)> = group.lines().filter_map(parse_group).collect();
    let home = known.map_or("", |entry| entry.home);
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    if let Some(wanted) = wanted_group {
        let gid = group_id(wanted, &groups)?;
        return Ok(Identity { uid, gid, additional_gids: vec![gid], home });
    }
    let gid = known.map_or(0, |entry| entry.gid);
    let mut additional_gids = vec![gid];
    if let Some(entry) = known {
        let member = |members: &str| members.split(',').any(|member| member == entry.name);
        for (_, other, _) in groups.iter().filter(|(_, _, members)| member(members)) {
            if !additional_gids.contains(other) {
                additional_gids.push(*other);
            }
            if GROUPS_MAX < additional_gids.len() {
                return Err(UserError::TooManyGroups { name: user.to_owned() });
            }
        }
    }
    Ok(Identity { uid, gid, additional_gids, home })
}

fn group_id(wanted: &str, groups: &[(&str, u32, &str)]) -> Result<u32, UserError> {
    let number = id(wanted)?;
    if let Some((_, gid, _)) = groups.iter().find(|(name, _, _)| *name == wanted) {
        return Ok(*gid);
    }
    let unknown = || UserError::Unknown { database: "group", name: wanted.to_owned() };
    number.ok_or_else(unknown)
}

/// `None` for a name. A number beyond what can be is an error, never cut to fit.
fn id(text: &str) -> Result<Option<u32>, UserError> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let number = text.parse::<u32>().ok().filter(|number| *number <= i32::MAX as u32);
    number.map(Some).ok_or_else(|| UserError::OutOfRange { text: text.to_owned() })
}

fn parse_passwd(line: &str) -> Option<Passwd<'_>> {
    let mut fields = line.split(':');
    let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let home = fields.nth(1).unwrap_or_default();
    let number = |text| id(text).ok().flatten();
    (!name.is_empty()).then_some(())?;
    Some(Passwd { name, uid: number(uid)?, gid: number(gid)?, home })
}

fn parse_group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some((name, id(gid).ok().flatten()?, fields.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nbroken\n\
                          web:x:33:34:w:/var/www:/bin/sh\nnohome:x:40:40:::\n\
                          1000:x:77:77::/digits:/bin/sh\nbig:x:4294967296:0::/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:50:web,other\nmore:x:51:web\nbroken\n";

    fn check(text: &str, expected: Result<(u32, u32, &[u32], &str), &str>) {
        let found = decide(text, PASSWD, GROUP)
            .map(|i| (i.uid, i.gid, i.additional_gids, i.home))
            .map_err(|error| error.to_string());
        let expected = expected
            .map(|(uid, gid, groups, home)| (uid, gid, groups.to_vec(), home.to_owned()))
            .map_err(str::to_owned);
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        check("", Ok((0, 0, &[0], "/root")));
        check("root", Ok((0, 0, &[0], "/root")));
        check("web", Ok((33, 34, &[34, 50, 51], "/var/www")));
        check("33", Ok((33, 34, &[34, 50, 51], "/var/www")));
        check("web:logs", Ok((33, 50, &[50], "/var/www")));
        check("web:7", Ok((33, 7, &[7], "/var/www")));
        check("web:", Ok((33, 34, &[34, 50, 51], "/var/www")));
        check("5000:6000", Ok((5000, 6000, &[6000], "/")));
        check("5000", Ok((5000, 0, &[0], "/")));
        check("nohome", Ok((40, 40, &[40], "/")));
        check("1000", Ok((77, 77, &[77], "/digits")));
        check(":logs", Ok((0, 50, &[50], "/root")));
    }

    /// A number that overflows is neither cut to fit nor looked up as a name: both made root.
    #[test]
    fn cve_2024_40635_and_2026_46680_impossible_numbers_are_refused() {
        let passwd = "4294967296:x:0:0::/:\n2147483648:x:0:0::/:\n";
        for text in ["4294967296", "2147483648", "4294967296:4294967296", "0:4294967296"] {
            let error = decide(text, passwd, "4294967296:x:0:\n").expect_err(text);
            assert!(matches!(error, UserError::OutOfRange { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn unknown_names_and_impossible_numbers_are_refused() {
        check("nobody", Err("the image's /etc/passwd has no \"nobody\""));
        check("web:nogroup", Err("the image's /etc/group has no \"nogroup\""));
        let range = "is no user or group id: they go from 0 to 2147483647";
        check("2147483648", Err(&format!("\"2147483648\" {range}")));
        check("4294967296", Err(&format!("\"4294967296\" {range}")));
        check("0:99999999999999999999", Err(&format!("\"99999999999999999999\" {range}")));
        check("big", Err("the image's /etc/passwd has no \"big\""));
        check("-1", Err("the image's /etc/passwd has no \"-1\""));
    }
}
