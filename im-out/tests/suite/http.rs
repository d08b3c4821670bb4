//! Small servers of HTTP, good and bad ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// What a server does with a connection, when it has read the request.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// Answers with a status.
    Says(u16),
    /// Answers with that, byte for byte.
    Writes(String),
    /// Never answers.
    Nothing,
    /// A byte of a head a second, for ever.
    Drips,
    /// A good head, and a body without an end.
    Floods,
    /// A head without an end.
    FloodsHead,
}

/// A server on loopback.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    does: Arc<Mutex<Does>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn new(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (got, does) = (Arc::default(), Arc::new(Mutex::new(does)));
        let task = tokio::spawn(serve(listener, Arc::clone(&got), Arc::clone(&does)));
        Self {
            address,
            got,
            does,
            task,
        }
    }

    pub(crate) fn does(&self, does: Does) {
        *self.does.lock() = does;
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until so many requests came.
    pub(crate) async fn until(&self, count: usize) -> Vec<Got> {
        let wait = async {
            while self.got.lock().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap();
        self.got()
    }
}

async fn serve(listener: TcpListener, got: Arc<Mutex<Vec<Got>>>, does: Arc<Mutex<Does>>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (got, does) = (Arc::clone(&got), Arc::clone(&does));
        tokio::spawn(async move {
            let _ = answer(socket, &got, &does).await;
        });
    }
}

async fn answer(
    mut socket: TcpStream,
    got: &Mutex<Vec<Got>>,
    does: &Mutex<Does>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let mut request = Got {
        head: String::from_utf8_lossy(&bytes[..end]).into_owned(),
        body: bytes.split_off(end + 4),
    };
    let length = request
        .header("content-length")
        .and_then(|text| text.parse().ok());
    while request.body.len() < length.unwrap_or(0) {
        socket.read_buf(&mut request.body).await?;
    }
    got.lock().push(request);
    let does = does.lock().clone();
    match does {
        Does::Says(status) => {
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            socket.write_all(answer.as_bytes()).await
        }
        Does::Writes(text) => socket.write_all(text.as_bytes()).await,
        Does::Nothing => std::future::pending().await,
        Does::Drips => {
            for byte in b"HTTP/1.1 200 OK\r\nx: "
                .iter()
                .chain(std::iter::repeat(&b'x'))
            {
                socket.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        Does::Floods => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
            socket.write_all(head).await?;
            loop {
                socket.write_all(&[b'x'; 65_536]).await?;
            }
        }
        Does::FloodsHead => {
            socket.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            for n in 0_u64.. {
                socket
                    .write_all(format!("x-{n}: {n}\r\n").as_bytes())
                    .await?;
            }
            Ok(())
        }
    }
}
