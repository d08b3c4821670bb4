//! The bytes of uploads and blobs: tus in, ranges out. Everything else about them is in the table
//! of methods.

mod download;
mod piece;
mod tus;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, options, post};
use im_core::frame::{ErrorCode, Failure};
use im_core::model::{BlobId, UserId};
use im_node::{METHODS, Media};

use crate::Shared;
use crate::http::{identify, may, refusal};

/// The routes of bytes.
pub(crate) fn routes(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .route("/v1/uploads", options(tus::options).post(tus::create))
        .route(
            "/v1/uploads/{blob}",
            post(tus::overridden)
                .options(tus::options)
                .head(tus::head)
                .patch(tus::patch)
                .delete(tus::terminate),
        )
        .route("/v1/blobs/{blob}", get(download::blob))
        .route("/v1/blobs/{blob}/thumb", get(download::thumb))
}

/// Who asks, and where the media are; `method` is whose right it is.
async fn enter(
    shared: &Shared,
    headers: &HeaderMap,
    method: &str,
) -> Result<(UserId, Media), Box<Response>> {
    let none = || Failure::new(ErrorCode::Unsupported, "this server keeps no media");
    let (identity, key) = identify(shared, headers).await?;
    // The bytes are a part of what these methods are about.
    let method = METHODS.iter().find(|known| known.name == method);
    let method = method.ok_or_else(|| Box::new(refusal::failure(&none())))?;
    may(shared, &identity, key.as_ref(), method)
        .map_err(|failure| Box::new(refusal::failure(&failure)))?;
    let admitted = shared.node.service().admitted(&identity.user).await;
    admitted.map_err(|failure| Box::new(refusal::failure(&failure)))?;
    let media = shared.node.media();
    let media = media.ok_or_else(|| Box::new(refusal::failure(&none())))?;
    Ok((identity.user, media))
}

fn blob_id(text: &str) -> Result<BlobId, Failure> {
    let none = || Failure::new(ErrorCode::NotFound, "no such blob");
    BlobId::parse(text).ok_or_else(none)
}

/// A header that is text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A header that is a whole number: digits and nothing else.
fn count(headers: &HeaderMap, name: &str) -> Option<u64> {
    let text = header(headers, name)?;
    let is_count = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| is_count)
}
