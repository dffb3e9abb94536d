//! A container's id: a name that is also the name of a folder.

use std::fmt;

/// The longest id, as runc has it.
pub(crate) const ID_BYTES_MAX: usize = 1024;

/// A valid id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerId(String);

/// The id is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid container id {0:?}: use letters, digits, _ + - and .")]
pub struct InvalidId(String);

impl ContainerId {
    /// Checks an id.
    ///
    /// # Errors
    /// When it is empty, too long, a name of a parent directory, or has other characters.
    pub fn parse(text: &str) -> Result<ContainerId, InvalidId> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        let is_valid = !text.is_empty()
            && text.len() <= ID_BYTES_MAX
            && ![".", ".."].contains(&text)
            && text.bytes().all(known);
        if is_valid { Ok(ContainerId(text.to_owned())) } else { Err(InvalidId(text.to_owned())) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ContainerId;

    #[test]
    fn an_id_is_no_path() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(1025)] {
            assert!(ContainerId::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "web-1.2_3+4", &"x".repeat(1024)] {
            assert!(ContainerId::parse(good).is_ok(), "{good:?}");
        }
    }
}
