//! Names of objects.

use std::fmt;

/// Lengths of a bucket's name, in bytes (S3's own bounds).
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;
/// Longest key, in bytes (S3's own bound).
const KEY_BYTES_MAX: usize = 1024;

/// The one partition of ARNs. Policies are written for it: under another one the same object would
/// have a second name, which no `Deny` knows.
const PARTITION: &str = "aws";

/// A bucket and a key in it, of an ARN `arn:aws:s3:::BUCKET/KEY`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    bucket: String,
    key: String,
}

/// Why a text names no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// It has another form.
    #[error("it must have the form arn:aws:s3:::BUCKET/KEY")]
    Form,
    /// It has another partition.
    #[error("its partition must be `aws`, as in all ARNs of this cluster: arn:aws:s3:::BUCKET/KEY")]
    Partition,
    /// The bucket can't be one.
    #[error(
        "a bucket's name has 3 to 63 letters, digits, dots, hyphens and underscores, and begins \
         with a letter or digit"
    )]
    Bucket,
    /// The key can't be one.
    #[error("a key has 1 to 1024 bytes and no control characters")]
    Key,
    /// Servers and what stands before them would read the key differently.
    #[error("a key must have no empty, `.` or `..` part between its slashes")]
    Parts,
}

impl ObjectName {
    /// Reads an ARN.
    ///
    /// # Errors
    /// [`NotAnObject`].
    pub fn parse(arn: &str) -> Result<Self, NotAnObject> {
        let mut parts = arn.splitn(6, ':');
        let (Some("arn"), Some(partition), Some("s3"), Some(""), Some(""), Some(rest)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAnObject::Form);
        };
        let (bucket, key) = rest.split_once('/').ok_or(NotAnObject::Form)?;
        if partition != PARTITION {
            return Err(NotAnObject::Partition);
        }
        let begins_well = bucket.starts_with(|c: char| c.is_ascii_alphanumeric());
        let is_of_bucket = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
        if !BUCKET_BYTES.contains(&bucket.len())
            || !begins_well
            || !bucket.bytes().all(is_of_bucket)
        {
            return Err(NotAnObject::Bucket);
        }
        if key.is_empty() || KEY_BYTES_MAX < key.len() || key.chars().any(char::is_control) {
            return Err(NotAnObject::Key);
        }
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(NotAnObject::Parts);
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:{PARTITION}:s3:::{}/{}", self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_a_bucket_and_a_key() {
        let check = |arn: &str, expected: Result<(&str, &str), NotAnObject>| {
            let got = ObjectName::parse(arn);
            if let Ok(name) = &got {
                assert_eq!(name.to_string(), arn);
            }
            let got = got.as_ref().map(|name| (name.bucket(), name.key())).map_err(|why| *why);
            assert_eq!(got, expected, "{arn}");
        };
        check("arn:aws:s3:::bucket/app.env", Ok(("bucket", "app.env")));
        check("arn:aws:s3:::b.u-c/a/b c:d/ä.env", Ok(("b.u-c", "a/b c:d/ä.env")));
        for form in [
            "",
            "s3://bucket/app.env",
            "arn:aws:s3:::bucket",
            "arn:aws:s3:us-east-1:123456789012:accesspoint/a/object/b",
            "arn:aws:ssm:::bucket/key",
        ] {
            check(form, Err(NotAnObject::Form));
        }
        check("arn:aws:s3:::b/key", Err(NotAnObject::Bucket));
        check("arn:aws:s3:::..a/key", Err(NotAnObject::Bucket));
        check("arn:aws:s3:::buc?et/key", Err(NotAnObject::Bucket));
        check("arn:aws:s3:::bucket/", Err(NotAnObject::Key));
        check("arn:aws:s3:::bucket/a\r\nb", Err(NotAnObject::Key));
        let long = format!("arn:aws:s3:::bucket/{}", "k".repeat(1025));
        check(&long, Err(NotAnObject::Key));
        for parts in ["../other/x.env", "a/./x.env", "a//x.env", "/x.env", "a/.."] {
            check(&format!("arn:aws:s3:::bucket/{parts}"), Err(NotAnObject::Parts));
        }
    }

    #[test]
    fn no_object_has_a_second_name_that_a_policy_would_not_know() {
        for partition in ["aws-cn", "aws-us-gov", "awsx", "AWS", "aws ", "", "A"] {
            let got = ObjectName::parse(&format!("arn:{partition}:s3:::bucket/app.env"));
            assert_eq!(got, Err(NotAnObject::Partition), "{partition:?}");
        }
    }
}
