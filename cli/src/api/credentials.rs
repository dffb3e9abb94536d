//! Which access key to sign with, and where it comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Largest credentials file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
    /// Which it is, and why that one: for whoever is refused.
    pub(crate) origin: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.key_id)
    }
}

/// Where credentials may come from, as the command line and the environment say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// `--credentials-file`.
    pub(crate) named: Option<PathBuf>,
    /// `--state-dir`'s file: the controller's own, where that is on this machine.
    pub(crate) beside: Option<PathBuf>,
    /// LOADLINE_CREDENTIALS.
    pub(crate) own_variable: Option<PathBuf>,
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, where the first two are set.
    pub(crate) environment: Option<Credentials>,
    /// AWS_SHARED_CREDENTIALS_FILE.
    pub(crate) shared: Option<PathBuf>,
    /// AWS_PROFILE.
    pub(crate) profile: Option<String>,
    /// The controller's own file on this machine.
    pub(crate) local: PathBuf,
}

impl Sources {
    /// The first source that is there: what the command line names, the environment, AWS's file,
    /// and this machine's controller.
    pub(crate) fn find(self) -> Result<Credentials, Failure> {
        let profile = self.profile.as_deref();
        if let Some(path) = &self.named {
            return read(path, profile, "--credentials-file");
        }
        if let Some(path) = self.beside.as_ref().filter(|path| path.exists()) {
            return read(path, Some("default"), "--state-dir");
        }
        if let Some(path) = &self.own_variable {
            return read(path, profile, "LOADLINE_CREDENTIALS");
        }
        if let Some(credentials) = self.environment {
            return Ok(credentials);
        }
        if let Some(path) = &self.shared {
            return read(path, profile, "AWS_SHARED_CREDENTIALS_FILE");
        }
        read(&self.local, Some("default"), "the state folder of this machine")
    }
}

/// Reads the profile; without a name that is `default`, or the only one that the file has.
/// `chosen_by` says why this file.
fn read(path: &Path, profile: Option<&str>, chosen_by: &str) -> Result<Credentials, Failure> {
    let missing = |why: String| Failure::NoCredentials(format!("{}: {why}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|e| missing(e.to_string()))?;
    if FILE_BYTES_MAX < metadata.len() {
        return Err(missing(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| missing(e.to_string()))?;
    let profiles = profiles(&text);
    let profile = match (profile, &*profiles) {
        (Some(profile), _) => profile,
        (None, [only]) => only,
        (None, _) => "default",
    };
    let origin = format!("[{profile}] in {} (by {chosen_by})", path.display());
    parse(&text, profile, origin).ok_or_else(|| {
        let others: Vec<&str> = profiles.into_iter().filter(|name| *name != profile).collect();
        let others = match &*others {
            [] => String::new(),
            others => format!("; the file has {}", others.join(", ")),
        };
        missing(format!("no key in the profile [{profile}]{others}"))
    })
}

/// The names of the profiles, in their order.
fn profiles(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']')).collect()
}

/// Reads one profile of an AWS credentials file.
fn parse(text: &str, profile: &str, origin: String) -> Option<Credentials> {
    let header = format!("[{profile}]");
    let mut inside = false;
    let (mut key_id, mut secret, mut session_token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == header;
        } else if let (true, Some((name, value))) = (inside, line.split_once('=')) {
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match name.trim() {
                "aws_access_key_id" => key_id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => session_token = value,
                _ => {}
            }
        }
    }
    Some(Credentials { key_id: key_id?, secret: secret?, session_token, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a comment\n[other]\naws_access_key_id = X\naws_secret_access_key = Y\n\
                        \n[default]\naws_access_key_id=AK\n aws_secret_access_key = a=b/c \n";

    fn key(key_id: &str, secret: &str) -> Credentials {
        Credentials {
            key_id: key_id.into(),
            secret: secret.into(),
            session_token: None,
            origin: String::new(),
        }
    }

    #[test]
    fn a_profile_is_read_from_its_own_section() {
        let parse = |text, profile| parse(text, profile, String::new());
        assert_eq!(parse(FILE, "default"), Some(key("AK", "a=b/c")));
        assert_eq!(parse(FILE, "other"), Some(key("X", "Y")));
        assert_eq!(parse(FILE, "none"), None);
        assert_eq!(parse("[default]\naws_access_key_id=AK\n", "default"), None);
    }

    #[test]
    fn the_nearest_source_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, FILE).unwrap();
        let none = folder.path().join("none");
        let sources = Sources { local: none, ..Sources::default() };
        let environment = Some(key("ENV", "s"));
        assert!(sources.clone().find().is_err());
        let local = Sources { local: path.clone(), ..sources.clone() };
        assert_eq!(local.find().unwrap().key_id, "AK");
        let named = Sources { named: Some(path.clone()), ..sources.clone() };
        let other = Sources { profile: Some("other".to_owned()), ..named.clone() };
        assert_eq!(other.find().unwrap().key_id, "X");
        let refused = Sources { profile: Some("ann".to_owned()), ..named }.find();
        let refused = refused.unwrap_err();
        assert!(refused.to_string().ends_with("[ann]; the file has other, default"), "{refused}");
        assert!(refused.hint().is_some_and(|hint| hint.contains("AWS_PROFILE")));
        let from_env = Sources { environment, shared: Some(path.clone()), ..sources };
        assert_eq!(from_env.clone().find().unwrap().key_id, "ENV");
        let named = Sources { named: Some(path.clone()), ..from_env.clone() };
        assert_eq!(named.find().unwrap().key_id, "AK");
        let origin = |sources: Sources| sources.find().unwrap().origin;
        let own_variable = Some(path.clone());
        let varied = Sources { own_variable, ..from_env };
        let file = path.display();
        let expected = format!("[default] in {file} (by LOADLINE_CREDENTIALS)");
        assert_eq!(origin(varied.clone()), expected);
        let absent = Sources { beside: Some(folder.path().join("none")), ..varied.clone() };
        assert_eq!(origin(absent), expected, "a machine that has no controller");
        let beside = Sources { beside: Some(path.clone()), ..varied };
        assert_eq!(origin(beside), format!("[default] in {file} (by --state-dir)"));
    }

    #[test]
    fn a_file_with_one_profile_needs_no_name_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ann");
        let text = "[ann]\naws_access_key_id = A\naws_secret_access_key = s\n";
        std::fs::write(&path, text).unwrap();
        let sources = Sources { named: Some(path), ..Sources::default() };
        assert_eq!(sources.clone().find().unwrap().key_id, "A");
        let named = Sources { profile: Some("default".to_owned()), ..sources };
        assert!(named.find().is_err());
    }
}
