//! Names and passwords for registries, where docker and podman keep them: docker's `config.json`,
//! with its credential helpers.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rooted;

/// Largest configuration or answer of a helper, in bytes.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

/// How long a credential helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

/// The key under which Docker Hub's credentials are kept.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Who is asking.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and its password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that another token is got with (OAuth 2 refresh token).
    IdentityToken {
        /// The token.
        token: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?}, …)"),
            Self::IdentityToken { .. } => f.write_str("IdentityToken(…)"),
        }
    }
}

/// Why credentials could not be found out. Having none is no error.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The configuration can't be read.
    #[error("read the registry credentials in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The configuration is not in docker's form.
    #[error("understand the registry credentials in {}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// An entry that does not hold what it must.
    #[error("the credentials for {registry} are not NAME:PASSWORD in base64")]
    Entry {
        /// Which registry.
        registry: String,
    },
    /// The helper does not run, or takes too long.
    #[error("run the credential helper {helper:?}")]
    Helper {
        /// The program.
        helper: String,
        /// The error.
        source: io::Error,
    },
    /// The helper says no.
    #[error("the credential helper {helper:?} failed: {words}")]
    HelperFailed {
        /// The program.
        helper: String,
        /// What it said, cut.
        words: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Where to look for the credentials of one registry.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Here(Credentials),
    /// Ask `docker-credential-NAME` for this key.
    Helper {
        program: String,
        key: String,
    },
}

/// The credentials for the registry `domain`, by the docker `config.json` at `path`. `None` where
/// there are none.
///
/// # Errors
/// [`CredentialsError`].
pub(super) async fn of(path: &Path, domain: &str) -> Result<Option<Credentials>, CredentialsError> {
    let read = |source| CredentialsError::Read { path: path.to_owned(), source };
    let bytes = match std::fs::File::open(path) {
        Ok(file) => rooted::read_max(file, TEXT_BYTES_MAX).map_err(read)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let config: DockerConfig = serde_json::from_slice(&bytes)
        .map_err(|source| CredentialsError::Form { path: path.to_owned(), source })?;
    match look_up(&config, domain)? {
        Found::Nothing => Ok(None),
        Found::Here(credentials) => Ok(Some(credentials)),
        Found::Helper { program, key } => ask(&program, &key).await,
    }
}

/// Decides where they are: a registry's own helper, else the store, else the file itself.
fn look_up(config: &DockerConfig, domain: &str) -> Result<Found, CredentialsError> {
    let key = if domain == "docker.io" { HUB_KEY } else { domain };
    let helper = config.cred_helpers.get(domain).or(config.creds_store.as_ref());
    if let Some(name) = helper.filter(|name| !name.is_empty()) {
        let program = format!("docker-credential-{name}");
        return Ok(Found::Helper { program, key: key.to_owned() });
    }
    let host = |name: &str| {
        let name = name.trim_start_matches("https://").trim_start_matches("http://");
        name.split('/').next().unwrap_or_default().to_owned()
    };
    let entry = config.auths.get(key).or_else(|| {
        config.auths.iter().find(|(name, _)| host(name) == domain).map(|(_, entry)| entry)
    });
    let Some(entry) = entry else { return Ok(Found::Nothing) };
    let wrong = || CredentialsError::Entry { registry: domain.to_owned() };
    if !entry.identitytoken.is_empty() {
        let token = entry.identitytoken.clone();
        return Ok(Found::Here(Credentials::IdentityToken { token }));
    }
    let (username, password) = if entry.auth.is_empty() {
        (entry.username.clone(), entry.password.clone())
    } else {
        let text = STANDARD.decode(entry.auth.trim()).ok();
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
        let (username, password) = text.split_once(':').ok_or_else(wrong)?;
        (username.to_owned(), password.trim_end_matches('\0').to_owned())
    };
    if username.is_empty() {
        return Ok(Found::Nothing);
    }
    Ok(Found::Here(Credentials::Password { username, password }))
}

/// Speaks the helpers' protocol: `get`, the key on stdin, JSON on stdout.
async fn ask(program: &str, key: &str) -> Result<Option<Credentials>, CredentialsError> {
    let failed = |source| CredentialsError::Helper { helper: program.to_owned(), source };
    let mut child = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(key.as_bytes()).await?;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(TEXT_BYTES_MAX).read_to_end(&mut answer).await?;
        }
        Ok::<_, io::Error>((child.wait().await?, answer))
    };
    let (status, answer) = match tokio::time::timeout(HELPER_TIMEOUT, talk).await {
        Ok(result) => result.map_err(failed)?,
        Err(_) => return Err(failed(io::Error::from(io::ErrorKind::TimedOut))),
    };
    let words = String::from_utf8_lossy(&answer);
    if !status.success() {
        if words.contains("credentials not found") {
            return Ok(None);
        }
        let words = words.trim().chars().take(200).collect();
        return Err(CredentialsError::HelperFailed { helper: program.to_owned(), words });
    }
    // Not put into the error: the answer has a secret in it.
    let answer: HelperAnswer = serde_json::from_slice(&answer).map_err(|_| {
        let words = "its answer is not the JSON of a credential helper".to_owned();
        CredentialsError::HelperFailed { helper: program.to_owned(), words }
    })?;
    if answer.username == "<token>" {
        return Ok(Some(Credentials::IdentityToken { token: answer.secret }));
    }
    Ok(Some(Credentials::Password { username: answer.username, password: answer.secret }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, domain: &str, expected: Found) {
        let config: DockerConfig = serde_json::from_str(config).unwrap();
        assert_eq!(look_up(&config, domain).unwrap(), expected, "{domain}");
    }

    fn password(username: &str, password: &str) -> Found {
        let (username, password) = (username.to_owned(), password.to_owned());
        Found::Here(Credentials::Password { username, password })
    }

    #[test]
    fn credentials_are_found_where_docker_puts_them() {
        let auth = STANDARD.encode("me:se:cret");
        let config = format!(
            "{{\"auths\": {{\"reg.example:5000\": {{\"auth\": \"{auth}\"}},
              \"https://index.docker.io/v1/\": {{\"username\": \"hub\", \"password\": \"pw\"}},
              \"https://old.example/v1/\": {{\"auth\": \"{auth}\"}},
              \"cloud.example\": {{\"identitytoken\": \"tok\", \"auth\": \"{auth}\"}},
              \"empty.example\": {{}}}},
              \"credHelpers\": {{\"helped.example\": \"pass\"}}}}"
        );
        check(&config, "reg.example:5000", password("me", "se:cret"));
        check(&config, "docker.io", password("hub", "pw"));
        check(&config, "old.example", password("me", "se:cret"));
        let token = Credentials::IdentityToken { token: "tok".into() };
        check(&config, "cloud.example", Found::Here(token));
        check(&config, "empty.example", Found::Nothing);
        check(&config, "reg.example", Found::Nothing);
        let helper =
            |key: &str| Found::Helper { program: "docker-credential-pass".into(), key: key.into() };
        check(&config, "helped.example", helper("helped.example"));
        check("{\"credsStore\": \"pass\"}", "docker.io", helper(HUB_KEY));
        check("{}", "docker.io", Found::Nothing);
    }

    #[test]
    fn a_secret_is_not_in_the_debug_text() {
        let Found::Here(credentials) = password("me", "hidden") else { unreachable!() };
        assert!(!format!("{credentials:?}").contains("hidden"));
    }
}
