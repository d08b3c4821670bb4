//! The client's half of a WebSocket, as bytes: the upgrade request, masked frames out, bare
//! frames in. Both the tokio client and the blocking probe speak through it.

/// Largest frame that the bench accepts from a server: above any `page_bytes` in use.
const MAX_FRAME: usize = 4 << 20;

/// Most bytes of an upgrade response that the bench reads.
pub(crate) const MAX_RESPONSE: usize = 8 << 10;

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The HTTP request that asks for a WebSocket of protocol v1 as JSON.
pub(crate) fn upgrade_request(port: u16) -> String {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: im.v1.json\r\n\r\n"
    )
}

/// Where the head of an HTTP response ends, once it has all come; an error unless it is a 101.
pub(crate) fn upgraded(response: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = response.windows(4).position(|w| w == b"\r\n\r\n") else {
        return if response.len() > MAX_RESPONSE {
            Err("the upgrade response has no end".to_owned())
        } else {
            Ok(None)
        };
    };
    if response.starts_with(b"HTTP/1.1 101") {
        return Ok(Some(end + 4));
    }
    let head = String::from_utf8_lossy(&response[..end]);
    Err(format!(
        "the upgrade was refused: {}",
        head.lines().next().unwrap_or_default()
    ))
}

/// Appends one masked frame; `fill` writes the payload.
pub(crate) fn frame(out: &mut Vec<u8>, opcode: u8, key: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    /// Room for the longest header that the bench writes: 2 + 2 + 4 bytes (payloads < 64 KiB).
    const HEADER: usize = 8;
    let start = out.len();
    out.resize(start + HEADER, 0);
    fill(out);
    let len = out.len() - start - HEADER;
    let key = key.to_ne_bytes();
    mask(&mut out[start + HEADER..], key);
    let header = &mut out[start..start + HEADER];
    header[0] = 0x80 | opcode;
    header[4..].copy_from_slice(&key);
    if len < 126 {
        // The short header is two bytes less: move it up against the payload and cut the gap.
        header[2] = 0x80 | opcode;
        header[3] = 0x80 | u8::try_from(len).unwrap_or(0);
        out.drain(start..start + 2);
    } else {
        header[1] = 0x80 | 126;
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        header[2..4].copy_from_slice(&len.to_be_bytes());
    }
}

fn mask(payload: &mut [u8], key: [u8; 4]) {
    let wide = u64::from_ne_bytes([
        key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3],
    ]);
    let (chunks, tail) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// One frame of the server at the front of some bytes.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// Bytes that the frame took, header and all.
    pub(crate) len: usize,
}

/// Reads the frame at the front of `bytes`: `Ok(None)` when it hasn't all come.
pub(crate) fn incoming(bytes: &[u8]) -> Result<Option<Incoming<'_>>, &'static str> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x80 == 0 || second & 0x80 != 0 {
        return Err("a fragmented or masked frame from the server");
    }
    let (len, header) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let len = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (usize::try_from(len).unwrap_or(usize::MAX), 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (usize::from(short), 2),
    };
    if len > MAX_FRAME {
        return Err("a frame larger than the bench accepts");
    }
    let Some(payload) = bytes.get(header..header + len) else {
        return Ok(None);
    };
    Ok(Some(Incoming {
        opcode: first & 0x0f,
        payload,
        len: header + len,
    }))
}
