//! A WebSocket connection: bytes in, bytes out; what they mean is the node's business.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, SinkExt};
use im_core::frame::{CloseCode, Codec};
use im_core::port::AuthError;
use im_node::{Connection, Output};
use tokio_tungstenite::tungstenite::Error as WsError;

use crate::Shared;
use crate::http::{bearer, refusal};

/// What is read at once, and so what every idle connection holds.
const READ_BUFFER_BYTES: usize = 2 * 1_024;
/// Frames gather up to here before they are written; the rest leaves with the flush.
const WRITE_BUFFER_BYTES: usize = 16 * 1_024;
/// How long a closed connection may take to say goodbye.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Frames taken from a socket before what they caused is written.
const READS_MAX: usize = 64;

/// `GET /v1/ws`.
pub(crate) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let origin = headers
        .get(header::ORIGIN)
        .map(|origin| origin.to_str().unwrap_or("?"));
    if !shared.may_come_from(origin) {
        return (StatusCode::FORBIDDEN, "this origin may not connect").into_response();
    }
    let Some(codec) = codec(&headers) else {
        return (
            StatusCode::BAD_REQUEST,
            "no sub-protocol that this server speaks",
        )
            .into_response();
    };
    if shared.node.is_draining() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "1")],
        )
            .into_response();
    }
    let identity = match bearer(&headers) {
        None => None,
        Some(token) => match shared.node.authenticate(token).await {
            Ok(identity) => Some(identity),
            Err(AuthError::Invalid(_)) => return refusal::unauthenticated(),
            Err(AuthError::Unavailable) => return refusal::unavailable(),
        },
    };
    let limits = shared.node.settings().limits;
    let largest = WRITE_BUFFER_BYTES + 2 * (limits.page_bytes + limits.frame_bytes);
    upgrade
        // axum would choose in our order, not in the client's.
        .protocols([codec.sub_protocol()])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(largest)
        .max_frame_size(limits.frame_bytes)
        .max_message_size(limits.frame_bytes)
        .on_upgrade(move |socket| {
            let connection = shared.node.connect(codec, identity);
            // The state of a connection lives as long as it does: keep it out of the upgrade's.
            Box::pin(run(socket, connection))
        })
}

/// The codec of the first sub-protocol that we speak; JSON when none is offered.
fn codec(headers: &HeaderMap) -> Option<Codec> {
    let mut offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .peekable();
    if offered.peek().is_none() {
        return Some(Codec::Json);
    }
    offered.find_map(|name| {
        Codec::ALL
            .into_iter()
            .find(|codec| codec.sub_protocol() == name)
    })
}

/// Why the loop ended.
enum End {
    /// The client is gone.
    Gone,
    /// The client said goodbye: the answer is queued.
    Goodbye,
    /// Close with this code.
    Close(u16),
}

async fn run(mut socket: WebSocket, mut connection: Connection) {
    let end = serve(&mut socket, &mut connection).await;
    drop(connection);
    // A client that does not listen is not waited for.
    let _ = tokio::time::timeout(CLOSE_DEADLINE, async {
        match end {
            End::Gone => {}
            End::Goodbye => drop(socket.flush().await),
            End::Close(code) => close(&mut socket, code).await,
        }
    })
    .await;
}

async fn serve(socket: &mut WebSocket, connection: &mut Connection) -> End {
    let mut output = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = connection.ready() => {}
            message = socket.recv(), if connection.may_read() => {
                if let Some(end) = read(socket, connection, message) {
                    return end;
                }
            }
            () = connection.aborted() => return End::Gone,
        }
        connection.drain(&mut output);
        if output.is_empty() {
            continue;
        }
        let wrote = tokio::select! {
            biased;
            wrote = write(socket, connection.codec(), &mut output) => wrote,
            () = connection.aborted() => return End::Gone,
        };
        match wrote {
            Ok(None) => {}
            Ok(Some(code)) => return End::Close(code.as_u16()),
            Err(_) => return End::Gone,
        }
        if output.capacity() > READS_MAX {
            output = Vec::new();
        }
    }
}

/// Takes one message, and what else has arrived already.
fn read(
    socket: &mut WebSocket,
    connection: &mut Connection,
    first: Option<Result<Message, axum::Error>>,
) -> Option<End> {
    let mut next = Some(first);
    let mut taken = 0;
    while let Some(message) = next {
        match message {
            None => return Some(End::Gone),
            Some(Err(error)) => return Some(violation(error)),
            Some(Ok(message)) => {
                if let Some(end) = take(connection, &message) {
                    return Some(end);
                }
            }
        }
        taken += 1;
        // What is taken off the socket is dealt with: none is taken beyond the bound.
        next = if taken < READS_MAX && connection.may_read() {
            socket.recv().now_or_never()
        } else {
            None
        };
    }
    None
}

fn take(connection: &mut Connection, message: &Message) -> Option<End> {
    match (message, connection.codec()) {
        (Message::Text(text), Codec::Json) => connection.handle_frame(text.as_bytes()),
        (Message::Binary(bytes), Codec::MessagePack) => connection.handle_frame(bytes),
        // A frame of the other opcode.
        (Message::Text(_) | Message::Binary(_), _) => {
            connection.handle_violation(CloseCode::Garbage);
        }
        (Message::Ping(_) | Message::Pong(_), _) => connection.handle_activity(),
        // The library answers with the same code, when it is flushed.
        (Message::Close(_), _) => return Some(End::Goodbye),
    }
    None
}

/// What a broken WebSocket frame is answered with.
fn violation(error: axum::Error) -> End {
    match error.into_inner().downcast::<WsError>().as_deref() {
        Ok(WsError::Capacity(_)) => End::Close(CloseCode::TooLarge.as_u16()),
        Ok(WsError::Utf8(_)) => End::Close(CloseCode::InvalidUtf8.as_u16()),
        Ok(WsError::Protocol(_)) => End::Close(PROTOCOL_ERROR),
        _ => End::Gone,
    }
}

/// RFC 6455, section 7.4.1.
const PROTOCOL_ERROR: u16 = 1002;

/// Writes everything in one flush. Gives the close code if the last item is one.
async fn write(
    socket: &mut WebSocket,
    codec: Codec,
    output: &mut Vec<Output>,
) -> Result<Option<CloseCode>, axum::Error> {
    let mut close = None;
    for item in output.drain(..) {
        match item {
            Output::Frame(bytes) => socket.feed(message(codec, bytes)).await?,
            Output::Ping => socket.feed(Message::Ping(Bytes::new())).await?,
            Output::Close(code) => close = Some(code),
        }
    }
    socket.flush().await?;
    Ok(close)
}

fn message(codec: Codec, bytes: Bytes) -> Message {
    match codec {
        Codec::MessagePack => Message::Binary(bytes),
        // Our encoder writes UTF-8; if it ever did not, the client is told by the opcode.
        Codec::Json => match Utf8Bytes::try_from(bytes.clone()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(bytes),
        },
    }
}

/// Says goodbye and waits for the other's, so that what was written arrives.
async fn close(socket: &mut WebSocket, code: u16) {
    let frame = CloseFrame {
        code,
        reason: Utf8Bytes::from_static(""),
    };
    if socket.send(Message::Close(Some(frame))).await.is_err() {
        return;
    }
    for _ in 0..READS_MAX {
        match socket.recv().await {
            Some(Ok(_)) => {}
            None => return,
            // What is left unread would reset the connection under the goodbye: let it arrive.
            Some(Err(_)) => tokio::time::sleep(CLOSE_DEADLINE).await,
        }
    }
}
