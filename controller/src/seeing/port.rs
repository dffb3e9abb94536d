//! Where Prometheus scrapes: `GET /metrics` with `Authorization: Bearer TOKEN`, on a port of its
//! own that is closed unless somebody asks for it (law 15). The token is made at the first start,
//! in `controller/metrics-token`; Prometheus reads it with `authorization.credentials_file`.

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Seeing;
use super::metrics::page;
use crate::engine::{Clock as _, Engine, SystemClock};

/// Most scrapes at once.
const SCRAPES_MAX: usize = 8;
/// How long one may take.
const SCRAPE_S_MAX: u64 = 30;
/// Pause after `accept` failed, as it does while the process is out of file descriptors.
const ACCEPT_RETRY_MS: u64 = 100;
/// Longest token that is read, in bytes.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// The token in `folder/metrics-token`, made with mode 0600 where there is none.
///
/// # Errors
/// The file system's.
pub fn token(folder: &Path) -> io::Result<String> {
    let path = folder.join("metrics-token");
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Ok(mut file) => {
            let token = hex::encode(rand::random::<[u8; 32]>());
            writeln!(file, "{token}").and_then(|()| file.sync_all())?;
            Ok(token)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut text = String::new();
            std::fs::File::open(&path)?.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
            let token = text.trim();
            if token.is_empty() {
                return Err(io::Error::other("it is empty: remove it, and it is made anew"));
            }
            Ok(token.to_owned())
        }
        Err(error) => Err(error),
    }
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, token: String, engine: Engine, seeing: Seeing) {
    let (token, room) = (Arc::new(token), Arc::new(Semaphore::new(SCRAPES_MAX)));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "can't accept a scrape");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                continue;
            }
        };
        let (token, engine, seeing) = (Arc::clone(&token), engine.clone(), seeing.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &token, || {
                    page(&engine.snapshot(), &seeing, SystemClock::new().unix_ms())
                });
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // One that hangs up, or speaks no HTTP, is its own business.
            let _ = tokio::time::timeout(Duration::from_secs(SCRAPE_S_MAX), connection).await;
            drop(permit);
        });
    }
}

fn answer<B>(
    request: &Request<B>,
    token: &str,
    page: impl FnOnce() -> String,
) -> Response<Full<Bytes>> {
    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    let (status, text) = if !bool::from(given.ct_eq(token.as_bytes())) {
        (StatusCode::UNAUTHORIZED, "the token of controller/metrics-token is needed\n".to_owned())
    } else if request.method() != Method::GET || request.uri().path() != "/metrics" {
        (StatusCode::NOT_FOUND, "only GET /metrics is here\n".to_owned())
    } else {
        (StatusCode::OK, page())
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, authorization: Option<&str>, expected: StatusCode) {
        let mut request = Request::get(path);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let answer = answer(&request.body(()).unwrap(), "secret", || "page".into());
        assert_eq!(answer.status(), expected);
    }

    #[test]
    fn nobody_sees_anything_without_the_token() {
        check("/metrics", Some("Bearer secret"), StatusCode::OK);
        check("/metrics", None, StatusCode::UNAUTHORIZED);
        check("/metrics", Some("Bearer secre"), StatusCode::UNAUTHORIZED);
        check("/metrics", Some("Basic secret"), StatusCode::UNAUTHORIZED);
        check("/", None, StatusCode::UNAUTHORIZED);
        check("/", Some("Bearer secret"), StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_token_is_made_once_and_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let made = token(folder.path()).unwrap();
        assert_eq!((made.len(), token(folder.path()).unwrap()), (64, made));
        let path = folder.path().join("metrics-token");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "\n").unwrap();
        assert!(token(folder.path()).is_err());
    }
}
