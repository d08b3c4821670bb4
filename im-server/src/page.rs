//! The built-in page: one HTML file, one script, one style sheet.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing inline, nothing from elsewhere, nobody frames it, and the address (which may hold a
/// token for a moment) is told to nobody.
const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    // Asked again each time, answered with 304 while nothing changed.
    ("cache-control", "no-cache"),
];

/// Written as two files, the client and what a person sees of it; a browser gets one.
const SCRIPT: &str = concat!(include_str!("page/chat.js"), include_str!("page/page.js"));

const FILES: [(&str, &str, &str); 3] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    ("/page.js", "text/javascript; charset=utf-8", SCRIPT),
    (
        "/page.css",
        "text/css; charset=utf-8",
        include_str!("page/page.css"),
    ),
];

/// The page's routes.
pub(crate) fn router() -> Router {
    let mut router = Router::new();
    for (path, kind, text) in FILES {
        let tag = etag(text);
        router = router.route(
            path,
            get(async move |asked| answer(&asked, kind, text, &tag)),
        );
    }
    router
}

fn answer(asked: &HeaderMap, kind: &str, text: &'static str, tag: &str) -> Response {
    let known = asked
        .get(header::IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok());
    let known = known.is_some_and(|tags| tags.split(',').any(|one| one.trim() == tag));
    let own = [(header::CONTENT_TYPE, kind), (header::ETAG, tag)];
    if known {
        return (StatusCode::NOT_MODIFIED, HEADERS, own).into_response();
    }
    (HEADERS, own, text).into_response()
}

/// Changes when the text does; the same in every process of one build.
fn etag(text: &str) -> String {
    let mut hash = DefaultHasher::new();
    text.hash(&mut hash);
    format!("\"{:016x}\"", hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_page_needs_a_weaker_policy() {
        for (path, _, text) in FILES {
            for inline in [
                "<style",
                "style=",
                "onclick=",
                "onload=",
                "javascript:",
                "innerHTML",
            ] {
                assert!(!text.contains(inline), "{path} has {inline}");
            }
            let without_src = text.matches("<script").count() - text.matches("<script src").count();
            assert_eq!(without_src, 0, "{path} has an inline script");
        }
    }

    #[test]
    fn every_file_has_its_own_tag() {
        let tags: std::collections::BTreeSet<_> = FILES.map(|(_, _, text)| etag(text)).into();
        assert_eq!(tags.len(), FILES.len());
    }
}
