//! Images over the local API: import with progress, list, remove.

use std::convert::Infallible;
use std::path::PathBuf;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::{Context, json as answer, refuse};
use crate::image::{ImageError, ImageStore, Imported};
use crate::text::{chain, chain_of_images};

/// Largest request body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Lines of progress that wait for a slow reader; more are skipped.
const PROGRESS_MAX: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportRequest {
    path: PathBuf,
    name: Option<String>,
}

/// `POST /v1/images/import`.
pub(super) async fn import(
    State(context): State<Context>,
    request: Request<Body>,
) -> Response<Body> {
    let request = match read_request(request).await {
        Ok(request) => request,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
    };
    let (lines, stream) = mpsc::channel(PROGRESS_MAX);
    tokio::task::spawn_blocking(move || {
        let last = run_import(&context.images, &request, &lines);
        // Who asked may have hung up; the import is done all the same.
        let _ = lines.blocking_send(last);
    });
    let stream = ReceiverStream::new(stream)
        .map(|line: Value| Ok::<_, Infallible>(Bytes::from(format!("{line}\n"))));
    Response::builder()
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(Body::from_stream(stream))
        .expect("a constant header makes a response")
}

async fn read_request(request: Request<Body>) -> Result<ImportRequest, String> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let request: ImportRequest =
        serde_json::from_slice(&bytes).map_err(|error| format!("the request: {error}"))?;
    if !request.path.is_absolute() {
        return Err(format!("path {} is not absolute", request.path.display()));
    }
    Ok(request)
}

fn run_import(images: &ImageStore, request: &ImportRequest, lines: &mpsc::Sender<Value>) -> Value {
    let mut progress = |now: crate::image::Progress| {
        let line = json!({ "done_bytes": now.done_bytes, "total_bytes": now.total_bytes });
        // A reader that is slow misses a line, and the import does not wait for it.
        let _ = lines.try_send(json!({ "progress": line }));
    };
    match images.import(&request.path, request.name.as_deref(), &mut progress) {
        Ok(imported) => {
            let imported: Vec<Value> = imported.iter().map(imported_line).collect();
            json!({ "imported": imported })
        }
        Err(error) => json!({ "error": chain_of_images(&error) }),
    }
}

fn imported_line(image: &Imported) -> Value {
    json!({
        "reference": image.reference,
        "digest": image.digest.to_string(),
        "size_bytes": image.size_bytes,
    })
}

/// `GET /v1/images`.
pub(super) async fn list(State(context): State<Context>) -> Response<Body> {
    let listed = tokio::task::spawn_blocking(move || context.images.list()).await;
    let Ok(listed) = listed else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the list of images can't be made");
    };
    let line = |image: &crate::image::Summary| {
        json!({
            "reference": image.reference,
            "digest": image.digest.to_string(),
            "size_bytes": image.size_bytes,
            "layers": image.layers,
        })
    };
    let images: Vec<Value> = listed.iter().map(line).collect();
    answer(StatusCode::OK, &json!({ "images": images }))
}

/// `DELETE /v1/images?reference=…`.
pub(super) async fn remove(
    State(context): State<Context>,
    request: Request<Body>,
) -> Response<Body> {
    let Some(reference) = request.uri().query().and_then(reference_of) else {
        return refuse(StatusCode::BAD_REQUEST, "the query has to be reference=NAME");
    };
    let removed = tokio::task::spawn_blocking(move || {
        context.images.remove(&reference)?;
        // Containers from before a restart hold no handle on their image.
        context.images.collect(|| context.workshop.used_layers())
    });
    match removed.await {
        Ok(Ok(freed)) => answer(StatusCode::OK, &json!({ "freed_bytes": freed.bytes })),
        Ok(Err(error @ ImageError::NotFound { .. })) => {
            refuse(StatusCode::NOT_FOUND, &chain(&error))
        }
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &chain(&error)),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the image can't be removed"),
    }
}

fn reference_of(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("reference="))?;
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
    (!decoded.is_empty()).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_in_a_query_is_decoded() {
        let check = |query, expected: Option<&str>| {
            assert_eq!(reference_of(query).as_deref(), expected, "{query}");
        };
        check("reference=a%2Fb%3Ac", Some("a/b:c"));
        check("x=1&reference=busybox:latest", Some("busybox:latest"));
        check("reference=", None);
        check("reference=%ff", None);
        check("name=x", None);
    }
}
