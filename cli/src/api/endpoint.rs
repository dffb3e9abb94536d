//! Where the controller is.

use std::fmt;
use std::str::FromStr;

/// An address of the form `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    authority: String,
}

impl Endpoint {
    /// HOST:PORT.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            let text = "the API speaks plain HTTP; from another host use a tunnel, for example \
                        ssh -L 7070:127.0.0.1:7070 HOST";
            return Err(text.to_owned());
        }
        let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let authority: http::uri::Authority =
            rest.parse().map_err(|_| "not of the form http://HOST:PORT".to_owned())?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err("not of the form http://HOST:PORT".to_owned());
        }
        let authority = match authority.port_u16() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        Ok(Self { authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let check = |text: &str, expected: Option<&str>| {
            let parsed = text.parse::<Endpoint>();
            assert_eq!(parsed.as_ref().ok().map(Endpoint::authority), expected, "{text}");
        };
        check("http://127.0.0.1:7070", Some("127.0.0.1:7070"));
        check("http://127.0.0.1:7070/", Some("127.0.0.1:7070"));
        check("localhost:1", Some("localhost:1"));
        check("http://[::1]:7070", Some("[::1]:7070"));
        check("http://controller", Some("controller:80"));
        check("https://127.0.0.1:7070", None);
        check("http://", None);
        check("http://user@host:1", None);
        check("http://host:1/path", None);
    }
}
