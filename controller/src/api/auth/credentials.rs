//! Access keys: who may call. They live in a file of AWS's own INI form, so that the controller,
//! aws-cli and boto3 can read the same file (`AWS_SHARED_CREDENTIALS_FILE`).
//!
//! Invariant: the file is a regular file of root or of the controller's own user and nobody else
//! can read it; a file that others can read is refused, not repaired, since its keys are known.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rand::Rng as _;

/// Largest credentials file, in bytes.
pub const CREDENTIALS_BYTES_MAX: u64 = 1024 * 1024;

const KEY_ID_NAME: &str = "aws_access_key_id";
const SECRET_NAME: &str = "aws_secret_access_key";

/// A secret access key. Never printed.
#[derive(Clone)]
pub struct SecretKey(String);

impl SecretKey {
    /// Takes a secret from elsewhere, as tests do.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// An access key of ours at somebody else's service.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// What is told.
    pub id: String,
    /// What signs.
    pub secret: SecretKey,
}

/// The access keys that are let in.
#[derive(Clone, Debug, Default)]
pub struct AccessKeys {
    by_id: BTreeMap<String, SecretKey>,
}

impl AccessKeys {
    /// No keys: nobody is let in.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds one key.
    #[must_use]
    pub fn with(mut self, key_id: impl Into<String>, secret: SecretKey) -> Self {
        self.by_id.insert(key_id.into(), secret);
        self
    }

    /// How many keys there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn secret(&self, key_id: &str) -> Option<&SecretKey> {
        self.by_id.get(key_id)
    }
}

/// Why the credentials file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A step on the file failed.
    #[error("{step} credentials file {path}")]
    Io {
        /// For example `open`.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others can read the file, or it is somebody else's.
    #[error(
        "credentials file {path} is {what}; its keys may be known: put new ones there (of the \
         clients' file the next start makes some once it is removed), or run `chmod 600` and \
         `chown root` on it if you know better"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// For example `open to others (mode 0644)`.
        what: String,
    },
    /// The text is not what an AWS credentials file holds.
    #[error("credentials file {path}, line {line}: {why}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// A file that shall hold the one key that we use.
    #[error("credentials file {path} holds {count} keys: leave the one that is to be used")]
    NotOne {
        /// The file.
        path: PathBuf,
        /// How many it holds.
        count: usize,
    },
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CredentialsError {
    let path = path.to_owned();
    move |source| CredentialsError::Io { step, path, source }
}

/// Reads the access keys from `path`; where there is no such file, makes one with a fresh key in
/// the profile `default`.
///
/// # Errors
/// [`CredentialsError`] where the file can't be read or made, is exposed, or is malformed.
pub fn load_or_create(path: &Path) -> Result<AccessKeys, CredentialsError> {
    match open(path) {
        Ok(file) => load(file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match create(path) {
                // Another process made it in between: then that one's keys count.
                Err(CredentialsError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            load(open(path).map_err(io_error("open", path))?, path)
        }
        Err(error) => Err(io_error("open", path)(error)),
    }
}

/// Reads the one access key of `path`, which is kept as closely as the clients' file.
///
/// # Errors
/// [`CredentialsError`] as [`load_or_create`], and where it does not hold exactly one.
pub fn load_one(path: &Path) -> Result<AccessKey, CredentialsError> {
    let keys = load(open(path).map_err(io_error("open", path))?, path)?;
    let count = keys.count();
    let mut keys = keys.by_id.into_iter();
    match (keys.next(), keys.next()) {
        (Some((id, secret)), None) => Ok(AccessKey { id, secret }),
        _ => Err(CredentialsError::NotOne { path: path.to_owned(), count }),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let no_link = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    OpenOptions::new().read(true).custom_flags(no_link).open(path)
}

fn load(mut file: File, path: &Path) -> Result<AccessKeys, CredentialsError> {
    let about = file.metadata().map_err(io_error("stat", path))?;
    let exposed = |what: String| CredentialsError::Exposed { path: path.to_owned(), what };
    if !about.is_file() {
        return Err(exposed("not a regular file".into()));
    }
    if about.mode() & 0o077 != 0 {
        return Err(exposed(format!("open to others (mode {:04o})", about.mode() & 0o7777)));
    }
    let own = nix::unistd::geteuid().as_raw();
    if about.uid() != 0 && about.uid() != own {
        return Err(exposed(format!("owned by user {}", about.uid())));
    }
    let mut text = String::new();
    let mut bounded = (&mut file).take(CREDENTIALS_BYTES_MAX);
    bounded.read_to_string(&mut text).map_err(io_error("read", path))?;
    parse(&text).map_err(|(line, why)| CredentialsError::Syntax {
        path: path.to_owned(),
        line,
        why,
    })
}

/// Makes the file complete or not at all: written and synced under another name, then linked to
/// its own, which fails where the name exists by now.
fn create(path: &Path) -> Result<(), CredentialsError> {
    let key_id = format!("AKIA{}", random_text(16, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"));
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let secret = random_text(40, alphabet);
    let text = format!("[default]\n{KEY_ID_NAME} = {key_id}\n{SECRET_NAME} = {secret}\n");
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", random_text(8, b"abcdefghijklmnopqrstuvwxyz")));
    let draft = PathBuf::from(draft);
    let made = write_synced(&draft, &text)
        .map_err(io_error("write", &draft))
        .and_then(|()| std::fs::hard_link(&draft, path).map_err(io_error("create", path)));
    let removed = std::fs::remove_file(&draft).map_err(io_error("remove draft of", &draft));
    made?;
    removed?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(io_error("sync folder of", path))
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn random_text(length: usize, alphabet: &[u8]) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(alphabet[random.random_range(0..alphabet.len())])).collect()
}

/// Every profile that has both an id and a secret. A session token makes the profile unusable:
/// temporary credentials are not served yet, so it is refused rather than half read.
fn parse(text: &str) -> Result<AccessKeys, (usize, &'static str)> {
    let mut keys = AccessKeys::none();
    let mut key_id: Option<String> = None;
    let mut secret: Option<SecretKey> = None;
    let mut in_section = false;
    let mut take = |key_id: &mut Option<String>, secret: &mut Option<SecretKey>, line| match (
        key_id.take(),
        secret.take(),
    ) {
        (Some(id), Some(secret)) => {
            keys.by_id.insert(id, secret);
            Ok(())
        }
        (None, None) => Ok(()),
        _ => Err((line, "a profile needs both an access key id and a secret access key")),
    };
    let mut last = 0;
    for (index, line) in text.lines().enumerate() {
        last = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') {
            if !line.ends_with(']') {
                return Err((last, "a section header without its closing bracket"));
            }
            take(&mut key_id, &mut secret, last)?;
            in_section = true;
            continue;
        }
        let (name, value) = line.split_once('=').ok_or((last, "not NAME = VALUE"))?;
        let value = value.trim();
        if !in_section {
            return Err((last, "a value before the first [profile]"));
        }
        if value.is_empty() {
            return Err((last, "an empty value"));
        }
        match name.trim() {
            KEY_ID_NAME => key_id = Some(value.to_owned()),
            SECRET_NAME => secret = Some(SecretKey::new(value)),
            "aws_session_token" => return Err((last, "session tokens are not supported yet")),
            "region" | "output" => {}
            _ => return Err((last, "an unknown name")),
        }
    }
    take(&mut key_id, &mut secret, last)?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_missing_file_is_made_once_private_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let first = load_or_create(&path).unwrap();
        assert_eq!(first.count(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let (id, secret) = first.by_id.iter().next().unwrap();
        assert!(id.starts_with("AKIA") && id.len() == 20, "{id}");
        assert_eq!(secret.as_bytes().len(), 40);
        let again = load_or_create(&path).unwrap();
        assert_eq!(again.secret(id).unwrap().as_bytes(), secret.as_bytes());
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft is left");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        load_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("open to others (mode 0640)"), "{error}");
    }

    #[test]
    fn a_file_of_our_own_key_holds_one_and_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s3-credentials");
        assert!(load_one(&path).unwrap_err().to_string().contains("open credentials file"));
        let one = "[default]\naws_access_key_id = A\naws_secret_access_key = s\n";
        write_synced(&path, one).unwrap();
        let key = load_one(&path).unwrap();
        assert_eq!((key.id.as_str(), key.secret.as_bytes()), ("A", &b"s"[..]));
        assert!(!format!("{key:?}").contains("\"s\""));
        std::fs::write(&path, format!("{one}{}", one.replace("= A", "= B"))).unwrap();
        assert!(load_one(&path).unwrap_err().to_string().contains("holds 2 keys"));
        std::fs::write(&path, "").unwrap();
        assert!(load_one(&path).unwrap_err().to_string().contains("holds 0 keys"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_one(&path), Err(CredentialsError::Exposed { .. })));
    }

    #[test]
    fn a_link_or_a_folder_in_its_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        load_or_create(&path).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(load_or_create(&link).is_err());
        assert!(load_or_create(folder.path()).is_err());
    }

    #[test]
    fn the_text_names_the_line_that_is_wrong() {
        let check = |text: &str, expected: Result<usize, (usize, &str)>| {
            let got = parse(text).map(|keys| keys.count());
            assert_eq!(got, expected, "{text:?}");
        };
        let both = "aws_access_key_id=A\naws_secret_access_key = s=x\n";
        check("", Ok(0));
        check(&format!("# c\n[default]\n{both}"), Ok(1));
        check(&format!("[a]\n{both}[b]\naws_access_key_id=B\naws_secret_access_key=t"), Ok(2));
        check(both, Err((1, "a value before the first [profile]")));
        let half = "a profile needs both an access key id and a secret access key";
        check("[a]\naws_access_key_id=A\n[b]", Err((3, half)));
        check("[a]\naws_access_key_id=A", Err((2, half)));
        check("[a]\naws_access_key_id=", Err((2, "an empty value")));
        check("[a]\nfoo", Err((2, "not NAME = VALUE")));
        check("[a]\nfoo=1", Err((2, "an unknown name")));
        check("[a\n", Err((1, "a section header without its closing bracket")));
        let token = "session tokens are not supported yet";
        check("[a]\naws_session_token=x", Err((2, token)));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let keys = AccessKeys::none().with("AKIA1", SecretKey::new("hush"));
        assert!(!format!("{keys:?}").contains("hush"));
    }
}
