//! Where a registry is, and whom it may send us to. No I/O in here.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::image::{Reference, Target};

/// The scheme, host and port of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it is spoken to without TLS.
    pub security: Security,
    /// Host, with its port where one is written.
    pub authority: Authority,
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// HTTPS with a certificate that a known authority signed.
    Tls,
    /// Plain HTTP.
    Plain,
}

/// A place that must not be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not a URL.
    #[error("{text:?} is no URL that can be followed")]
    NotAUrl {
        /// As it was sent.
        text: String,
    },
    /// From HTTPS to HTTP.
    #[error("{url} would leave TLS")]
    LeavesTls {
        /// Where it leads.
        url: String,
    },
}

impl Endpoint {
    /// The registry of `reference`. Docker Hub's own host is another than its name; a registry on
    /// this machine, and one that is listed in `insecure`, speaks plain HTTP.
    ///
    /// # Errors
    /// [`PlaceError::NotAUrl`] for a domain that is no host.
    pub fn of(reference: &Reference, insecure: &[String]) -> Result<Self, PlaceError> {
        let domain = reference.domain();
        let host = if domain == "docker.io" { "registry-1.docker.io" } else { domain };
        let authority: Authority =
            host.parse().map_err(|_| PlaceError::NotAUrl { text: host.to_owned() })?;
        let plain = is_local(authority.host()) || insecure.iter().any(|name| name == domain);
        let security = if plain { Security::Plain } else { Security::Tls };
        Ok(Self { security, authority })
    }

    /// A URL below `/v2/`.
    ///
    /// # Errors
    /// [`PlaceError::NotAUrl`] where `path` can't be part of one.
    pub fn url(&self, path: &str) -> Result<Uri, PlaceError> {
        let not_a_url = || PlaceError::NotAUrl { text: path.to_owned() };
        let path: PathAndQuery = format!("/v2/{path}").parse().map_err(|_| not_a_url())?;
        let scheme = match self.security {
            Security::Tls => Scheme::HTTPS,
            Security::Plain => Scheme::HTTP,
        };
        let url = Uri::builder().scheme(scheme).authority(self.authority.clone());
        url.path_and_query(path).build().map_err(|_| not_a_url())
    }
}

/// The path of a manifest below `/v2/`.
pub(super) fn manifest_path(reference: &Reference) -> String {
    match reference.target() {
        Target::Tag(tag) => format!("{}/manifests/{tag}", reference.path()),
        Target::Digest(digest) => format!("{}/manifests/{digest}", reference.path()),
    }
}

/// Where a `Location` leads from `base`. TLS is not left.
///
/// # Errors
/// [`PlaceError`].
pub(super) fn follow(base: &Uri, location: &str) -> Result<Uri, PlaceError> {
    let not_a_url = || PlaceError::NotAUrl { text: location.chars().take(300).collect() };
    let target: Uri = location.parse().map_err(|_| not_a_url())?;
    let whole = if target.host().is_some() {
        target
    } else if location.starts_with('/') {
        let mut parts = base.clone().into_parts();
        parts.path_and_query = target.into_parts().path_and_query;
        Uri::from_parts(parts).map_err(|_| not_a_url())?
    } else {
        return Err(not_a_url());
    };
    match whole.scheme_str() {
        Some("https") => Ok(whole),
        Some("http") if base.scheme_str() == Some("http") => Ok(whole),
        Some("http") => Err(PlaceError::LeavesTls { url: whole.to_string() }),
        _ => Err(not_a_url()),
    }
}

/// Whether both URLs are the same host, port and scheme: only there do credentials go.
pub(super) fn same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |url: &Uri| (url.scheme().cloned(), url.authority().cloned());
    origin(a) == origin(b)
}

fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_https_unless_it_is_local_or_listed() {
        let insecure = ["lab:5000".to_owned()];
        for (name, url) in [
            ("busybox", "https://registry-1.docker.io/v2/x"),
            ("ghcr.io/a/b", "https://ghcr.io/v2/x"),
            ("lab:5000/a", "http://lab:5000/v2/x"),
            ("localhost:5000/a", "http://localhost:5000/v2/x"),
            ("127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/x"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/x"),
            ("127.0.0.1.example.com/a", "https://127.0.0.1.example.com/v2/x"),
        ] {
            let reference = Reference::parse(name).unwrap();
            let endpoint = Endpoint::of(&reference, &insecure).unwrap();
            assert_eq!(endpoint.url("x").unwrap().to_string(), url);
        }
    }

    #[test]
    fn a_redirect_may_change_the_host_but_not_leave_tls() {
        let base: Uri = "https://reg.example/v2/a/blobs/x".parse().unwrap();
        let to = |location: &str| follow(&base, location).map(|url| url.to_string());
        assert_eq!(to("/other?a=b").unwrap(), "https://reg.example/other?a=b");
        assert_eq!(to("https://cdn.example/x").unwrap(), "https://cdn.example/x");
        assert!(matches!(to("http://cdn.example/x"), Err(PlaceError::LeavesTls { .. })));
        for bad in ["file:///etc/passwd", "x", "", "ftp://a/b"] {
            assert!(matches!(to(bad), Err(PlaceError::NotAUrl { .. })), "{bad}");
        }
        let cdn = "https://cdn.example/x".parse().unwrap();
        assert!(same_origin(&base, &base) && !same_origin(&base, &cdn));
    }
}
