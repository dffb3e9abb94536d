//! Answers and refusals as bytes: JSON for the services that AWS speaks JSON with, XML for those
//! that it speaks its query protocol with.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::{ApiError, Code};

/// What a client reads; told by what it sends, so that even a refusal is in its language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `application/x-amz-json-1.1`
    Json,
    /// `application/x-www-form-urlencoded` in, XML out.
    Query,
}

impl Format {
    /// Of a request with this method and these headers. A GET is a presigned one of the query
    /// protocol: the others have no form without a body.
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        match content_type(headers) {
            _ if *method == Method::GET => Self::Query,
            "application/x-www-form-urlencoded" => Self::Query,
            _ => Self::Json,
        }
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Json => HeaderValue::from_static("application/x-amz-json-1.1"),
            Self::Query => HeaderValue::from_static("text/xml"),
        }
    }
}

/// The media type of a request's body, without its parameters.
pub(super) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// The whole response.
pub(super) fn response(
    format: Format,
    request_id: &str,
    outcome: Result<Vec<u8>, ApiError>,
) -> Response<Full<Bytes>> {
    let mut response = match outcome {
        Ok(body) => Response::new(Full::new(Bytes::from(body))),
        Err(refused) => refusal(format, request_id, &refused),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, format.content_type());
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

fn refusal(format: Format, request_id: &str, refused: &ApiError) -> Response<Full<Bytes>> {
    let ApiError { code, message } = refused;
    let (body, status) = match format {
        Format::Json => {
            (json!({ "__type": code.as_str(), "message": message }).to_string(), code.status())
        }
        Format::Query => {
            let (name, status) = query_code(*code);
            let kind = if status.is_server_error() { "Receiver" } else { "Sender" };
            let message = escape(message);
            let body = format!(
                "<ErrorResponse><Error><Type>{kind}</Type><Code>{name}</Code>\
                 <Message>{message}</Message></Error>\
                 <RequestId>{request_id}</RequestId></ErrorResponse>"
            );
            (body, status)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("x-amzn-errortype", HeaderValue::from_static(code.as_str()));
    if matches!(code, Code::RequestEntityTooLarge | Code::RequestTimeout) {
        // The rest of the body is still under way: nothing more can be read from here.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The query protocol's names, where they differ, and its statuses.
fn query_code(code: Code) -> (&'static str, StatusCode) {
    match code {
        Code::UnrecognizedClient => ("InvalidClientTokenId", StatusCode::FORBIDDEN),
        Code::InvalidSignature => ("SignatureDoesNotMatch", StatusCode::FORBIDDEN),
        Code::ExpiredToken => ("ExpiredToken", StatusCode::FORBIDDEN),
        Code::MissingAuthenticationToken => ("MissingAuthenticationToken", StatusCode::FORBIDDEN),
        Code::AccessDenied => ("AccessDenied", StatusCode::FORBIDDEN),
        Code::IncompleteSignature => ("IncompleteSignature", StatusCode::BAD_REQUEST),
        Code::UnknownOperation => ("InvalidAction", StatusCode::BAD_REQUEST),
        Code::InvalidParameter => ("ValidationError", StatusCode::BAD_REQUEST),
        Code::Throttling => ("Throttling", StatusCode::BAD_REQUEST),
        Code::Server => ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR),
        other => (other.as_str(), other.status()),
    }
}

/// Text inside an XML element.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // XML 1.0 has no way to write the other control characters.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
