//! A registry for tests, over plain HTTP on this machine, that can be told to misbehave.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt as _, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::image::testing::Layout;

/// What the registry does otherwise than a good one.
#[derive(Clone, Debug, Default)]
pub(super) struct Manners {
    /// Asks for this name and password, by `Basic` or through a token.
    pub(super) password: Option<(&'static str, &'static str)>,
    /// Through a token service.
    pub(super) bearer: bool,
    /// Breaks off each blob after this many bytes.
    pub(super) cut_after: Option<usize>,
    /// Takes no notice of `Range`.
    pub(super) no_ranges: bool,
    /// Answers this many requests with 503 first.
    pub(super) busy: usize,
    /// Sends blobs' readers to this origin.
    pub(super) redirect_to: Option<String>,
}

/// What was asked: path, and the `Authorization` and `Range` that came with it.
pub(super) type Asked = (String, Option<String>, Option<String>);

pub(super) struct Registry {
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    content: HashMap<String, Vec<u8>>,
    manners: Mutex<Manners>,
    asked: Mutex<Vec<Asked>>,
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

impl Registry {
    /// Serves the blobs of `layout`, and `manifest` as `repository:1`.
    pub(super) async fn serve(layout: &Layout, manifest: &str, manners: Manners) -> Self {
        let mut content = HashMap::new();
        for entry in std::fs::read_dir(layout.path.join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let digest = format!("sha256:{}", entry.file_name().into_string().unwrap());
            let bytes = std::fs::read(entry.path()).unwrap();
            content.insert(format!("/v2/team/app/blobs/{digest}"), bytes.clone());
            if digest == manifest {
                content.insert("/v2/team/app/manifests/1".to_owned(), bytes.clone());
            }
            content.insert(format!("/v2/team/app/manifests/{digest}"), bytes);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (manners, asked) = (Mutex::new(manners), Mutex::default());
        let state = Arc::new(State { content, manners, asked });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let answer = move |request| {
                    let answer = state.answer(&request);
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                };
                let service = hyper::service::service_fn(answer);
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, state }
    }

    pub(super) fn reference(&self) -> String {
        format!("{}/team/app:1", self.address)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.state.manners.lock().unwrap());
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.state.asked.lock().unwrap())
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let header =
            |name| request.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (path, authorization) = (request.uri().path(), header(header::AUTHORIZATION));
        let range = header(header::RANGE);
        let asked = (request.uri().to_string(), authorization.clone(), range.clone());
        self.asked.lock().unwrap().push(asked);
        let mut manners = self.manners.lock().unwrap();
        if 0 < manners.busy {
            manners.busy -= 1;
            return text(StatusCode::SERVICE_UNAVAILABLE, "later");
        }
        let host = header(header::HOST).unwrap_or_default();
        if let Some(refusal) = ask_who(&manners, path, authorization.as_deref(), &host) {
            return refusal;
        }
        if let (Some(origin), true) = (&manners.redirect_to, path.contains("/blobs/")) {
            let mut answer = text(StatusCode::TEMPORARY_REDIRECT, "");
            let location = format!("{origin}{path}").parse().unwrap();
            answer.headers_mut().insert(header::LOCATION, location);
            return answer;
        }
        match self.content.get(path) {
            Some(bytes) if path.contains("/blobs/") => blob(bytes, range.as_deref(), &manners),
            Some(bytes) => text(StatusCode::OK, bytes.clone()),
            None => {
                let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such"}]}"#;
                text(StatusCode::NOT_FOUND, body)
            }
        }
    }
}

/// A refusal, or the token service's answer.
fn ask_who(
    manners: &Manners,
    path: &str,
    authorization: Option<&str>,
    host: &str,
) -> Option<Answer> {
    use base64::Engine as _;
    let (name, password) = manners.password?;
    let pair = format!("{name}:{password}");
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    if path == "/token" {
        let known = authorization == Some(&basic);
        let status = if known { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        return Some(text(status, r#"{"token":"t0ken"}"#));
    }
    let expected = if manners.bearer { "Bearer t0ken" } else { &basic };
    if authorization == Some(expected) {
        return None;
    }
    let challenge = if manners.bearer {
        format!("Bearer realm=\"http://{host}/token\",service=\"test registry\"")
    } else {
        "Basic realm=\"test\"".to_owned()
    };
    let mut answer = text(StatusCode::UNAUTHORIZED, "");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    Some(answer)
}

fn blob(bytes: &[u8], range: Option<&str>, manners: &Manners) -> Answer {
    let from =
        range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from = from.filter(|_| !manners.no_ranges).unwrap_or(0);
    let rest = bytes[from..].to_vec();
    let mut answer = match manners.cut_after {
        Some(cut) if cut < rest.len() => {
            let piece = Ok(Frame::data(Bytes::from(rest[..cut].to_vec())));
            // The piece must be on its way before the connection breaks.
            let broken = async {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                Err(std::io::Error::other("cut"))
            };
            let piece = futures_util::future::ready(piece);
            let pieces = stream::once(piece).chain(stream::once(broken));
            Response::new(BodyExt::boxed(StreamBody::new(pieces)))
        }
        _ => text(StatusCode::OK, rest),
    };
    if 0 < from {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        answer.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
    }
    answer
}
