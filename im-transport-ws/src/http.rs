//! The HTTP API: the node's table of methods as routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, RawPathParams, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use im_core::frame::{ErrorCode, Failure};
use im_core::model::Value;
use im_core::port::{AuthError, Identity};
use im_node::keys::{self, ApiKey};
use im_node::{METHODS, Method, Verb};

use crate::Shared;

/// The header that makes a retry safe for 24 hours.
const KEY_HEADER: &str = "idempotency-key";
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The routes of every method that has one.
pub(crate) fn routes(mut router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    for method in METHODS {
        let Some(route) = method.route else { continue };
        let verb = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Delete => MethodFilter::DELETE,
        };
        let handler = move |state, headers, path, query, body| {
            answer(method, state, headers, path, query, body)
        };
        router = router.route(route.path, on(verb, handler));
    }
    router
}

async fn answer(
    method: &'static Method,
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    path: RawPathParams,
    Query(query): Query<Vec<(String, String)>>,
    body: Body,
) -> Response {
    let (identity, api_key) = match identify(&shared, &headers).await {
        Ok(known) => known,
        Err(response) => return *response,
    };
    if let Err(failure) = may(&shared, &identity, api_key.as_ref(), method) {
        return refusal::failure(&failure);
    }
    let body = match read(body, shared.node.settings().limits.frame_bytes).await {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let params = match params(&path, query, &body) {
        Ok(params) => params,
        Err(why) => return refusal::bad(&why),
    };
    let key = headers
        .get(KEY_HEADER)
        .and_then(|key| key.to_str().ok())
        .map(str::to_owned);
    if key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > 64)
    {
        return refusal::bad("idempotency-key: must be 1 to 64 characters");
    }
    match shared
        .node
        .service()
        .call_as(&identity, method.name, params, key)
        .await
    {
        Ok(value) => json(StatusCode::OK, value.to_json()),
        Err(failure) => refusal::failure(&failure),
    }
}

/// A body, of those who showed a token only: it is bounded in size and time.
async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Box<Response>> {
    let refuse = |status: StatusCode, why: &'static str| {
        // What is left of the body is not waited for.
        let close = [(header::CONNECTION, "close")];
        Box::new((status, close, why).into_response())
    };
    match tokio::time::timeout(BODY_DEADLINE, to_bytes(body, bytes_max)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "larger than frame_bytes",
        )),
        Err(_) => Err(refuse(
            StatusCode::REQUEST_TIMEOUT,
            "the body took too long",
        )),
    }
}

/// Who calls: by a token, or by a key of a program.
pub(crate) async fn identify(
    shared: &Shared,
    headers: &HeaderMap,
) -> Result<(Identity, Option<ApiKey>), Box<Response>> {
    let token = bearer(headers).ok_or_else(|| Box::new(refusal::unauthenticated()))?;
    let known = if token.starts_with(keys::PREFIX) {
        let key = shared.node.key(token).await;
        key.map(|key| (key.identity(), Some(key)))
    } else {
        let identity = shared.node.authenticate(token).await;
        identity.map(|identity| (identity, None))
    };
    known.map_err(|error| {
        Box::new(match error {
            AuthError::Invalid(_) => refusal::unauthenticated(),
            AuthError::Unavailable => refusal::unavailable(),
        })
    })
}

/// Whether a key is for that method, and the call is not one too many.
pub(crate) fn may(
    shared: &Shared,
    identity: &Identity,
    key: Option<&ApiKey>,
    method: &Method,
) -> Result<(), Failure> {
    if key.is_some_and(|key| !key.may(method.name)) {
        let words = "the key is not for this method";
        return Err(Failure::new(ErrorCode::Forbidden, words));
    }
    shared.node.admit(&identity.user, key, method)
}

/// Path, query and body together; the path wins over the body, the body over the query.
fn params(
    path: &RawPathParams,
    query: Vec<(String, String)>,
    body: &[u8],
) -> Result<Value, String> {
    let mut fields: Vec<(std::borrow::Cow<'static, str>, Value)> = query
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    if !body.is_empty() {
        let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
        match Value::from_json(text) {
            Ok(Value::Object(given)) => fields.extend(given),
            Ok(_) => return Err("the body must be a JSON object".to_owned()),
            Err(error) => return Err(format!("the body: {error}")),
        }
    }
    let path = path
        .iter()
        .map(|(name, value)| (name.to_owned().into(), value.into()));
    Ok(Value::object(fields.into_iter().chain(path)))
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Refusals as responses.
pub(crate) mod refusal {
    use super::ErrorCode;
    use super::{Failure, Response, StatusCode, Value, header, json};
    use axum::http::HeaderValue;

    pub(crate) fn failure(failure: &Failure) -> Response {
        let status = StatusCode::from_u16(failure.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut fields = vec![
            ("code", Value::from(failure.code.as_str())),
            ("message", failure.message.as_str().into()),
        ];
        fields.extend(
            failure
                .retry_after_ms
                .map(|ms| ("retry_after_ms", ms.into())),
        );
        let mut response = json(status, Value::object(fields).to_json());
        if let Some(ms) = failure.retry_after_ms {
            let seconds = HeaderValue::from(ms.div_ceil(1_000));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }

    pub(crate) fn unauthenticated() -> Response {
        failure(&Failure::new(
            ErrorCode::Unauthenticated,
            "the token is missing or not valid",
        ))
    }

    pub(crate) fn unavailable() -> Response {
        let words = "the token can't be checked now";
        failure(&Failure::retry(ErrorCode::Unavailable, words, 1_000))
    }

    pub(crate) fn bad(why: &str) -> Response {
        failure(&Failure::new(ErrorCode::BadFrame, why))
    }
}
