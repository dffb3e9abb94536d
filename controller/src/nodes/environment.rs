//! Environment files of tasks: what their text means, and which variable counts (ECS developer
//! guide, "Pass environment variables to an Amazon ECS container").
//!
//! A variable of `environment` or of an override counts before one of a secret, that before one of
//! the first file, and so on to the last; all of them before one of the image. Within a file the
//! last line counts, as with the ECS agent.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use loadline_model::{ContainerName, ContainerSpec, KeyValue};
use loadline_proto::convert::SECRETS_PER_CONTAINER_MAX;

use crate::iam::Denied;
use crate::objects::{NotAnObject, ObjectName, ObjectStore, StoreError, Waiter};
use crate::state::EnvironmentFile;

/// Most bytes of all files of a task: they are told to its node in one message.
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// The files of a task.
pub(super) type Contents = BTreeMap<ObjectName, Vec<u8>>;

/// Why files can't be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileFault {
    #[error("the task's execution role is not there")]
    NoRole,
    #[error("AccessDeniedException: {0}")]
    Denied(#[from] Denied),
    #[error(
        "this cluster has no S3-compatible store: the controller has to be started with \
         --s3-endpoint"
    )]
    NoStore,
    #[error("{0}: {1}")]
    Name(String, NotAnObject),
    #[error("{0}: {1}")]
    Object(ObjectName, Box<StoreError>),
    #[error("{0} was not read")]
    Unread(String),
    #[error("files of too many tasks of the node are awaited already")]
    Crowded,
    #[error("{0}: {1}")]
    Text(String, TextFault),
    #[error("all files of the task have more than {BYTES_MAX} bytes")]
    TooLarge,
    #[error("container {0} would have more than {SECRETS_PER_CONTAINER_MAX} variables of files")]
    TooMany(ContainerName),
}

impl FileFault {
    /// Whether the files may be had a while later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Object(_, error) if error.may_pass())
    }
}

/// Why a file's text can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TextFault {
    #[error("it is no UTF-8 text")]
    NotText,
    #[error("line {0} holds a NUL character")]
    Nul(usize),
}

/// Reads the objects, all at once; the first that can't be had is told.
pub(super) async fn read(
    store: &ObjectStore,
    names: Vec<ObjectName>,
    waiter: Waiter,
) -> Result<Contents, FileFault> {
    let names: BTreeSet<ObjectName> = names.into_iter().collect();
    let one = async |name: ObjectName| match store.read(&name, waiter).await {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) => Err(FileFault::Object(name, Box::new(error))),
    };
    let all = futures_util::future::try_join_all(names.into_iter().map(one)).await?;
    if BYTES_MAX < all.iter().map(|(_, bytes)| bytes.len()).sum() {
        return Err(FileFault::TooLarge);
    }
    Ok(all.into_iter().collect())
}

/// Adds the variables of `files` to what containers are told, below what they have already:
/// `told` (their secrets) and their own environment.
pub(super) fn lay_under(
    told: &mut BTreeMap<ContainerName, Vec<KeyValue>>,
    containers: &[ContainerSpec],
    files: &[EnvironmentFile],
    contents: &Contents,
) -> Result<(), FileFault> {
    for container in containers {
        let mut fresh: BTreeMap<String, String> = BTreeMap::new();
        for file in files.iter().filter(|file| file.container == container.name) {
            let name = ObjectName::parse(&file.object)
                .map_err(|why| FileFault::Name(file.object.clone(), why))?;
            let bytes = contents.get(&name);
            let bytes = bytes.ok_or_else(|| FileFault::Unread(file.object.clone()))?;
            let variables =
                variables(bytes).map_err(|fault| FileFault::Text(file.object.clone(), fault))?;
            for (name, value) in variables {
                if let Entry::Vacant(place) = fresh.entry(name) {
                    place.insert(value);
                }
            }
        }
        let secrets = told.get(&container.name).map(Vec::as_slice).unwrap_or_default();
        for pair in container.environment.iter().chain(secrets) {
            fresh.remove(&pair.name);
        }
        if fresh.is_empty() {
            continue;
        }
        let own = told.entry(container.name.clone()).or_default();
        own.extend(fresh.into_iter().map(|(name, value)| KeyValue { name, value }));
        if SECRETS_PER_CONTAINER_MAX < own.len() {
            return Err(FileFault::TooMany(container.name.clone()));
        }
    }
    Ok(())
}

/// The variables of a file. A line is `NAME=VALUE`, taken as it is: quotes and spaces are part of
/// the value. Lines that begin with `#`, that have no `=`, and those without a name or a value say
/// nothing, as with the ECS agent.
fn variables(bytes: &[u8]) -> Result<BTreeMap<String, String>, TextFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| TextFault::NotText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut all = BTreeMap::new();
    // Of a line's end, one carriage return belongs to it, also where the file ends with that.
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    for (index, line) in lines.enumerate() {
        if line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        if name.is_empty() || value.is_empty() {
            continue;
        }
        if line.contains('\0') {
            return Err(TextFault::Nul(index + 1));
        }
        all.insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        variables(text.as_bytes()).unwrap().into_iter().collect()
    }

    #[test]
    fn a_line_is_a_variable_as_it_stands() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let expected: Vec<_> =
                expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(pairs(text), expected, "{text:?}");
        };
        check("A=b\nC=d", &[("A", "b"), ("C", "d")]);
        check("\u{feff}A=b\r\nC=d\r\n", &[("A", "b"), ("C", "d")]);
        check("A=b\r\nC=d\r", &[("A", "b"), ("C", "d")]);
        check("A=b\r\r\nC=\r", &[("A", "b\r")]);
        check("#A=b\n\nno variable\n=x\nE=\n", &[]);
        check(
            "A=\"quoted\" # kept \nURL=http://x/?a=b&c=d",
            &[("A", "\"quoted\" # kept "), ("URL", "http://x/?a=b&c=d")],
        );
        check("A=first\nA=last", &[("A", "last")]);
        check("export A=b", &[("export A", "b")]);
        assert_eq!(variables(b"A=b\nC=\0").unwrap_err(), TextFault::Nul(2));
        assert_eq!(variables(b"A=\xff").unwrap_err(), TextFault::NotText);
    }

    fn pair(name: &str, value: &str) -> KeyValue {
        KeyValue { name: name.into(), value: value.into() }
    }

    fn file(container: &str, key: &str) -> EnvironmentFile {
        let container = ContainerName::parse(container).unwrap();
        EnvironmentFile { container, object: format!("arn:aws:s3:::bucket/{key}.env") }
    }

    fn contents(all: &[(&str, String)]) -> Contents {
        let name = |key: &str| ObjectName::parse(&file("x", key).object).unwrap();
        all.iter().map(|(key, text)| (name(key), text.clone().into_bytes())).collect()
    }

    fn container(name: &str, environment: Vec<KeyValue>) -> ContainerSpec {
        let name = ContainerName::parse(name).unwrap();
        ContainerSpec { environment, ..ContainerSpec::new(name, "image") }
    }

    #[test]
    fn the_first_file_counts_before_the_second_and_both_after_environment_and_secrets() {
        let app = ContainerName::parse("app").unwrap();
        let mut told = BTreeMap::from([(app.clone(), vec![pair("SECRET", "s")])]);
        let containers = [container("app", vec![pair("OWN", "o")]), container("side", vec![])];
        let files = [file("app", "one"), file("app", "two"), file("side", "two")];
        let contents = contents(&[
            ("one", "OWN=1\nSECRET=1\nBOTH=1\nONE=1".to_owned()),
            ("two", "BOTH=2\nTWO=2\nOWN=2".to_owned()),
        ]);
        lay_under(&mut told, &containers, &files, &contents).unwrap();
        let expected = [pair("SECRET", "s"), pair("BOTH", "1"), pair("ONE", "1"), pair("TWO", "2")];
        assert_eq!(told[&app], expected);
        let side = ContainerName::parse("side").unwrap();
        assert_eq!(told[&side], [pair("BOTH", "2"), pair("OWN", "2"), pair("TWO", "2")]);
    }

    #[test]
    fn what_can_not_be_told_to_a_node_is_refused_with_the_reason() {
        let containers = [container("app", vec![])];
        let files = [file("app", "one")];
        let many: String = (0..=SECRETS_PER_CONTAINER_MAX).map(|n| format!("V{n}=x\n")).collect();
        let lay = |text: String| {
            let contents = contents(&[("one", text)]);
            lay_under(&mut BTreeMap::new(), &containers, &files, &contents)
        };
        let said = lay(many).unwrap_err().to_string();
        assert_eq!(said, "container app would have more than 10000 variables of files");
        let unread = lay_under(&mut BTreeMap::new(), &containers, &files, &Contents::new());
        let unread = unread.unwrap_err().to_string();
        assert_eq!(unread, "arn:aws:s3:::bucket/one.env was not read");
        let said = lay("A=b\nC=\0".to_owned()).unwrap_err().to_string();
        assert_eq!(said, "arn:aws:s3:::bucket/one.env: line 2 holds a NUL character");
    }
}
