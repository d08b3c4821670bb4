//! A connection whose socket is ours to end.
//!
//! The client runs each connection in a thread of its own, which waits for the server for as long
//! as that is silent: also when nobody wants the connection any more, and while it is being made.
//! Each attempt to connect to a silent server would leave a thread. So we keep a handle of the
//! socket, and end it with whoever holds the wire.

use std::future::Future;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use im_link::{ANSWER_WAIT, ConnectError};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::runtime::default_runtime;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, Error, ErrorKind};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::Rabbit;

/// How long a connection that is not wanted any more has to say goodbye.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// A connection and its channel.
pub(crate) struct Wire {
    connection: Option<Connection>,
    socket: Socket,
    pub(crate) channel: Channel,
}

impl Wire {
    pub(crate) async fn open(rabbit: &Rabbit) -> Result<Self, ConnectError> {
        let socket = Socket::default();
        let connection = connect(rabbit, &socket);
        let connection = connection.await.map_err(|error| explain(rabbit, &error))?;
        let channel = connection.create_channel().await;
        Ok(Self {
            channel: channel.map_err(|error| explain(rabbit, &error))?,
            connection: Some(connection),
            socket,
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let (connection, socket) = (self.connection.take(), self.socket.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if let Some(connection) = connection {
            runtime.spawn(async move {
                let goodbye = connection.close(200, "OK".into());
                let _ = timeout(GOODBYE_WAIT, goodbye).await;
                drop(socket);
            });
        }
    }
}

/// A handle of a socket, if there is one by now. The last that is dropped ends it.
#[derive(Clone, Default)]
struct Socket(Arc<Handle>);

#[derive(Default)]
struct Handle(Mutex<Option<TcpStream>>);

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(socket) = self.0.lock().take() {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

type Stream = tokio::net::TcpStream;

/// Keeps a handle of a socket with whoever wants the connection, who may be gone by now.
fn hold(held: &Weak<Handle>, stream: &Stream) -> std::io::Result<()> {
    let gone = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let held = held.upgrade().ok_or_else(gone)?;
    *held.0.lock() = Some(own(stream)?);
    Ok(())
}

#[cfg(unix)]
fn own(stream: &Stream) -> std::io::Result<TcpStream> {
    use std::os::fd::AsFd as _;
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn own(stream: &Stream) -> std::io::Result<TcpStream> {
    use std::os::windows::io::AsSocket as _;
    Ok(stream.as_socket().try_clone_to_owned()?.into())
}

fn connect(rabbit: &Rabbit, socket: &Socket) -> impl Future<Output = lapin::Result<Connection>> {
    let (uri, tls) = (rabbit.uri.0.clone(), rabbit.tls.clone());
    let held = Arc::downgrade(&socket.0);
    async move {
        let properties = ConnectionProperties::default().with_connection_name("imkit's bus".into());
        Connection::connector(
            uri,
            default_runtime()?,
            async move |uri: AMQPUri, runtime| {
                let place = (uri.authority.host.as_str(), uri.authority.port);
                let addrs = tokio::net::lookup_host(place).await?.collect::<Vec<_>>();
                let dialled = AsyncTcpStream::connect(&runtime, addrs);
                let stream = timeout(ANSWER_WAIT, dialled)
                    .await
                    .map_err(std::io::Error::from)??;
                if let AsyncTcpStream::Plain(tcp) = &stream {
                    hold(&held, tcp.get_ref())?;
                }
                if uri.scheme == AMQPScheme::AMQPS {
                    return Ok(stream.into_tls(&uri.authority.host, tls.as_ref()).await?);
                }
                Ok(stream)
            },
            properties,
        )
        .await
    }
}

/// What an error means, without the server's own words.
pub(crate) fn explain(rabbit: &Rabbit, error: &Error) -> ConnectError {
    let at = &rabbit.at;
    match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                ConnectError::Credentials { at: at.clone() }
            }
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                ConnectError::refused(at, "NOT_ALLOWED: is there such a virtual host?")
            }
            kind => ConnectError::refused(at, format!("{kind:?}")),
        },
        ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => {
            ConnectError::Protocol { at: at.clone() }
        }
        ErrorKind::IOError(error) => ConnectError::unreachable(at, error),
        _ => ConnectError::unreachable(at, "the connection ended"),
    }
}
