//! One request and the head of its answer, on a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use url::{Position, Url};

use super::{Answer, ReachError};

/// The largest head of an answer, in bytes. hyper takes no less.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// The most headers of an answer.
const HEADERS_MAX: usize = 100;
/// The longest wait that an answer may ask for: a day.
const RETRY_AFTER_MAX: u64 = 86_400;

pub(super) async fn exchange<S>(
    socket: S,
    url: &Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
) -> Result<Answer, ReachError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let mut request = Request::post(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, host)
        .header(USER_AGENT, concat!("imkit/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Full::new(body))
        .map_err(|_| ReachError::Header)?;
    request.headers_mut().extend(headers);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|_| ReachError::Http)?;
    // The connection may end before the answer is taken out of it.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        answer = sender.send_request(request) => {
            answer.map(|answer| head(&answer)).map_err(|_| ReachError::Http)
        }
        never = driven => match never {},
    }
}

fn head<B>(answer: &Response<B>) -> Answer {
    let asked = answer.headers().get(RETRY_AFTER);
    let seconds = asked.and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    Answer {
        status: answer.status().as_u16(),
        retry_after: seconds.map(|s| Duration::from_secs(s.min(RETRY_AFTER_MAX))),
    }
}
