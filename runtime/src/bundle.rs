//! A bundle: a directory with a config.json, read once.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use serde_json::Value;

use crate::config::Config;
use crate::seccomp::Cache;
use crate::spec::{complete_user, respell_flags, table, take_unknown};
use crate::strict_json::Strict;
use crate::sys::path::real;

/// The largest config.json that is read: 16 MiB, several hundred times what engines write.
pub const CONFIG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A bundle whose configuration was read.
#[derive(Debug)]
pub struct Bundle {
    /// The directory's absolute path, without links.
    pub path: PathBuf,
    /// config.json as it was read, for the record; without the capabilities that are not known.
    pub text: String,
    /// The same, decoded and not yet validated.
    pub config: Config,
    /// The names in `process.capabilities` that are no capability.
    pub unknown_capabilities: Vec<String>,
}

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory.
    #[error("open bundle {}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file. The words are those that engines look for.
    #[error("read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Too large a file.
    #[error("{} is larger than {CONFIG_BYTES_MAX} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not a configuration.
    #[error("{}", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl Bundle {
    /// The properties of config.json that the specification does not know.
    pub fn unknown_properties(&self) -> Vec<String> {
        let config = serde_json::from_str(&self.text);
        config.map_or_else(|_| Vec::new(), |config| table::unknown(&config))
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// When the directory or the file is missing, too large, or no configuration.
    pub fn open(path: &Path, cache: &Cache) -> Result<Bundle, Error> {
        let failed = |source| Error::Directory { path: path.to_owned(), source };
        let name = CString::new(path.as_os_str().as_bytes());
        let found = name.map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        let path = real(&found).map_err(|errno| failed(errno.into()))?;
        let file = path.join("config.json");
        let text = read(&file)?;
        let decode = |text: &str| Config::decode(text, cache);
        let (text, config, unknown_capabilities) =
            decode_known(text, |config| config.get_mut("process"), decode)
                .map_err(|source| Error::Decode { path: file, source })?;
        Ok(Bundle { path, text, config, unknown_capabilities })
    }
}

/// Decodes a text in which a process may have capabilities that are not known, no user, and
/// scheduler flags in the specification's spelling: the text as it can be decoded, what was
/// decoded, and the names of the capabilities, which the text has no longer.
///
/// # Errors
/// When it is of another form.
pub fn decode_known<T>(
    text: String,
    process: impl Fn(&mut Value) -> Option<&mut Value>,
    decode: impl Fn(&str) -> serde_json::Result<T>,
) -> serde_json::Result<(String, T, Vec<String>)> {
    let first = match decode(&text) {
        Ok(decoded) => return Ok((text, decoded, Vec::new())),
        Err(error) => error,
    };
    // Only now, because a start should not pay for what hardly any bundle has. What the first look
    // would have refused further on, this one refuses too.
    let Strict(mut value) = serde_json::from_str(&text)?;
    let (mut unknown, mut is_changed) = (Vec::new(), false);
    if let Some(process) = process(&mut value) {
        unknown = take_unknown(process);
        is_changed = respell_flags(process) | complete_user(process);
    }
    if unknown.is_empty() && !is_changed {
        return Err(first);
    }
    let text = format!("{value:#}");
    decode(&text).map(|decoded| (text, decoded, unknown))
}

/// Reads a file of the form of config.json, or of a part of it.
///
/// # Errors
/// When the file is missing or too large.
pub fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    // Not by the C library's `open`, which takes a call more.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(AT_FDCWD, path, flags, Mode::empty());
    let file = File::from(file.map_err(|errno| failed(errno.into()))?);
    let length = file.metadata().map_or(0, |metadata| metadata.len()).min(CONFIG_BYTES_MAX);
    // One byte more than there is, so that the end is seen without growing.
    let mut text = String::with_capacity(length as usize + 1);
    file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}
