//! A conversation with one registry about one repository: who is asking, redirects, refusals.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::PullError;
use super::challenge::{self, Challenge};
use super::credentials::Credentials;
use super::place::{self, Endpoint, Security};
use super::request::{self, Http};

/// Most redirects of one request.
pub const REDIRECTS_MAX: usize = 5;

/// Largest answer of a token service, and largest error message, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// An open conversation.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub(super) http: &'a Http,
    pub(super) endpoint: Endpoint,
    /// The repository's name.
    pub(super) repository: &'a str,
    pub(super) credentials: Option<Credentials>,
    /// What goes with each request to the registry itself, once it is known.
    authorization: Mutex<Option<HeaderValue>>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
    #[serde(default)]
    message: Option<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        http: &'a Http,
        endpoint: Endpoint,
        repository: &'a str,
        credentials: Option<Credentials>,
    ) -> Self {
        Self { http, endpoint, repository, credentials, authorization: Mutex::new(None) }
    }

    /// Asks for `path` below `/v2/`, from byte `from` on. Any answer but success is an error.
    pub(super) async fn get(
        &self,
        path: &str,
        accept: &str,
        from: u64,
    ) -> Result<(Response<Incoming>, Uri), PullError> {
        let url = self.endpoint.url(path)?;
        let mut headers = HeaderMap::new();
        let accept = HeaderValue::from_str(accept).map_err(|_| PullError::header("Accept"))?;
        headers.insert(header::ACCEPT, accept);
        if 0 < from {
            let range = HeaderValue::from_str(&format!("bytes={from}-"));
            headers.insert(header::RANGE, range.map_err(|_| PullError::header("Range"))?);
        }
        let used = self.authorization.lock().await.clone();
        let (mut response, mut place) = self.follow(&url, &headers, used.as_ref()).await?;
        // A redirected host's 401 is not ours to answer: it would get the registry's credentials.
        if response.status() == StatusCode::UNAUTHORIZED && place::same_origin(&place, &url) {
            let fresh = self.authorize(&response, used.as_ref()).await?;
            (response, place) = self.follow(&url, &headers, Some(&fresh)).await?;
        }
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok((response, place)),
            status => Err(self.refusal(status, response, place).await),
        }
    }

    async fn follow(
        &self,
        url: &Uri,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<(Response<Incoming>, Uri), PullError> {
        let mut place = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut headers = headers.clone();
            if let Some(value) = authorization.filter(|_| place::same_origin(&place, url)) {
                headers.insert(header::AUTHORIZATION, value.clone());
            }
            let sent = self.http.send(Method::GET, &place, headers, Bytes::new());
            let response = sent.await?;
            match request::location(&response) {
                Some(location) => place = place::follow(&place, location)?,
                None => return Ok((response, place)),
            }
        }
        Err(PullError::Redirects { url: url.to_string() })
    }

    /// Finds out what the registry wants to see. `used` is what it has just refused: where another
    /// request has got something newer in the meantime, that is taken.
    async fn authorize(
        &self,
        response: &Response<Incoming>,
        used: Option<&HeaderValue>,
    ) -> Result<HeaderValue, PullError> {
        let mut authorization = self.authorization.lock().await;
        if let Some(newer) = authorization.clone()
            && Some(&newer) != used
        {
            return Ok(newer);
        }
        let texts = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let mut challenges =
            texts.filter_map(|text| text.to_str().ok()).filter_map(challenge::parse);
        let value = match (challenges.next(), &self.credentials) {
            (Some(Challenge::Basic), Some(Credentials::Password { username, password })) => {
                basic(username, password)?
            }
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let token = self.token(&realm, service.as_deref(), scope.as_deref()).await?;
                secret(&format!("Bearer {token}"))?
            }
            _ => return Err(self.unauthorized()),
        };
        *authorization = Some(value.clone());
        Ok(value)
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<String, PullError> {
        let own_scope = format!("repository:{}:pull", self.repository);
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut query = format!("scope={}", encode(scope.unwrap_or(&own_scope)));
        if let Some(service) = service {
            query = format!("service={}&{query}", encode(service));
        }
        let mut headers = HeaderMap::new();
        let separator = if realm.contains('?') { '&' } else { '?' };
        let mut url = format!("{realm}{separator}{query}");
        let (mut method, mut body) = (Method::GET, Bytes::new());
        match &self.credentials {
            Some(Credentials::Password { username, password }) => {
                headers.insert(header::AUTHORIZATION, basic(username, password)?);
            }
            Some(Credentials::IdentityToken { token }) => {
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(header::CONTENT_TYPE, form);
                let grant = "grant_type=refresh_token&client_id=loadline&refresh_token=";
                body = Bytes::from(format!("{query}&{grant}{}", encode(token)));
                (url, method) = (realm.to_owned(), Method::POST);
            }
            None => {}
        }
        let url: Uri = url.parse().map_err(|_| place::PlaceError::NotAUrl { text: url })?;
        if self.endpoint.security == Security::Tls && url.scheme_str() != Some("https") {
            return Err(place::PlaceError::LeavesTls { url: realm.to_owned() }.into());
        }
        let response = self.http.send(method, &url, headers, body).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response.status(), response, url).await);
        }
        let bytes = request::whole(response.into_body(), &url, ANSWER_BYTES_MAX).await?;
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        token.ok_or_else(|| PullError::NoToken { url: realm.to_owned() })
    }

    /// The error that an answer stands for, with the registry's own words.
    async fn refusal(
        &self,
        status: StatusCode,
        response: Response<Incoming>,
        url: Uri,
    ) -> PullError {
        let bytes = request::whole(response.into_body(), &url, ANSWER_BYTES_MAX).await;
        let errors: Option<Errors> =
            bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let words = errors.and_then(|errors| errors.errors.into_iter().next()).map(|entry| {
            let message = entry.message.unwrap_or_default();
            format!("{} {message}", entry.code).trim().chars().take(300).collect()
        });
        let words = words
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned());
        match status {
            StatusCode::UNAUTHORIZED => self.unauthorized(),
            StatusCode::FORBIDDEN => PullError::Denied { url: url.to_string(), words },
            StatusCode::NOT_FOUND => PullError::NotFound { url: url.to_string(), words },
            _ => PullError::Status { url: url.to_string(), status: status.as_u16(), words },
        }
    }

    fn unauthorized(&self) -> PullError {
        PullError::Unauthorized {
            registry: self.endpoint.authority.to_string(),
            repository: self.repository.to_owned(),
            with: match &self.credentials {
                Some(Credentials::Password { username, .. }) => format!("as {username:?}"),
                Some(Credentials::IdentityToken { .. }) => "with an identity token".to_owned(),
                None => "without credentials".to_owned(),
            },
        }
    }
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, PullError> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn secret(text: &str) -> Result<HeaderValue, PullError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| PullError::header("Authorization"))?;
    value.set_sensitive(true);
    Ok(value)
}
