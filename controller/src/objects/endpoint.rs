//! Where a store is.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

/// The scheme, host and port of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it is spoken to with TLS.
    pub(super) tls: bool,
    /// Host, with its port where one is written.
    pub(super) authority: Authority,
}

/// A text that is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("http://HOST[:PORT] or https://HOST[:PORT], without a path and without credentials")]
pub struct NotAnEndpoint;

impl Endpoint {
    /// The host as it is connected to: an IPv6 address without its brackets.
    pub(super) fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, where none is written that of the scheme.
    pub(super) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let url: Uri = text.parse().map_err(|_| NotAnEndpoint)?;
        let tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(NotAnEndpoint),
        };
        let authority = url.authority().ok_or(NotAnEndpoint)?.clone();
        let bare = url.path() == "/" && url.query().is_none() && !authority.as_str().contains('@');
        if !bare || authority.host().is_empty() {
            return Err(NotAnEndpoint);
        }
        Ok(Self { tls, authority })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            let got = text.parse::<Endpoint>().ok();
            let got = got.as_ref().map(|endpoint| (endpoint.host(), endpoint.port()));
            assert_eq!(got, expected, "{text}");
        };
        check("http://minio:9000", Some(("minio", 9000)));
        check("https://s3.example/", Some(("s3.example", 443)));
        check("http://[::1]:9000", Some(("::1", 9000)));
        check("http://127.0.0.1", Some(("127.0.0.1", 80)));
        for bad in
            ["", "minio:9000", "ftp://a", "http://", "https://a/b", "http://u:p@a", "http://a?b"]
        {
            check(bad, None);
        }
    }
}
