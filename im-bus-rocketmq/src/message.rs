//! Messages as a broker stores them.

use bytes::{Buf, Bytes};

/// The property with the node that a message is for.
pub(crate) const TO: &str = "TO";
/// Between a property's name and its value, and behind that.
const SEPARATORS: [char; 2] = ['\u{1}', '\u{2}'];
/// A message with a longer topic has another layout, by this mark.
const LONG_TOPIC: i32 = -626_843_477;
/// Of `sysFlag`: the body is compressed, which ours are not.
const COMPRESSED: i32 = 1;
/// Of `sysFlag`: these addresses are of IPv6.
const BORN_IPV6: i32 = 1 << 4;
const STORED_IPV6: i32 = 1 << 5;

/// A message that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its place in its queue.
    pub(crate) place: i64,
    /// The node's id as it was written; none for all.
    pub(crate) to: Option<String>,
    /// What was sent; `None` if it can't be read.
    pub(crate) body: Option<Bytes>,
}

/// A property as a request has it.
pub(crate) fn property(name: &str, value: &str) -> String {
    let [between, behind] = SEPARATORS;
    format!("{name}{between}{value}{behind}")
}

/// The messages of an answer; ends at what is none.
pub(crate) fn read(mut body: Bytes) -> Vec<Stored> {
    let mut messages = Vec::new();
    while body.len() >= 4 {
        let length = usize::try_from(body.slice(..4).get_i32()).unwrap_or_default();
        if length < 4 || length > body.len() {
            break;
        }
        let Some(message) = read_one(body.split_to(length).slice(4..)) else {
            break;
        };
        messages.push(message);
    }
    messages
}

/// As `MessageDecoder` of RocketMQ has it.
fn read_one(mut it: Bytes) -> Option<Stored> {
    let mark = it.try_get_i32().ok()?;
    skip(&mut it, 4 + 4 + 4)?; // its check, queue and flag
    let place = it.try_get_i64().ok()?;
    skip(&mut it, 8)?; // where it is in the log
    let flags = it.try_get_i32().ok()?;
    skip(&mut it, 8 + host(flags & BORN_IPV6))?; // when and where it was born,
    skip(&mut it, 8 + host(flags & STORED_IPV6))?; // and stored
    skip(&mut it, 4 + 8)?; // how often it was tried, its transaction
    let body = usize::try_from(it.try_get_i32().ok()?).ok()?;
    let body = take(&mut it, body)?;
    let topic = if mark == LONG_TOPIC {
        usize::from(it.try_get_u16().ok()?)
    } else {
        usize::from(it.try_get_u8().ok()?)
    };
    skip(&mut it, topic)?;
    let properties = usize::from(it.try_get_u16().ok()?);
    let properties = take(&mut it, properties)?;
    let properties = std::str::from_utf8(&properties).ok()?;
    let [between, behind] = SEPARATORS;
    let mut pairs = properties
        .split(behind)
        .filter_map(|it| it.split_once(between));
    let to = pairs.find(|(name, _)| *name == TO);
    Some(Stored {
        place,
        to: to.map(|(_, value)| value.to_owned()),
        body: (flags & COMPRESSED == 0).then_some(body),
    })
}

/// The bytes of an address and its port.
const fn host(is_ipv6: i32) -> usize {
    if is_ipv6 == 0 { 4 + 4 } else { 16 + 4 }
}

fn take(it: &mut Bytes, bytes: usize) -> Option<Bytes> {
    (bytes <= it.len()).then(|| it.split_to(bytes))
}

fn skip(it: &mut Bytes, bytes: usize) -> Option<()> {
    take(it, bytes).map(|_| ())
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;

    fn stored(flags: i32, body: &[u8], properties: &str) -> BytesMut {
        let mut it = BytesMut::new();
        it.put_i32(-626_843_481);
        it.put_slice(&[0; 12]);
        it.put_i64(7);
        it.put_slice(&[0; 8]);
        it.put_i32(flags);
        it.put_slice(&vec![0; 8 + host(flags & BORN_IPV6)]);
        it.put_slice(&vec![0; 8 + host(flags & STORED_IPV6)]);
        it.put_slice(&[0; 12]);
        it.put_i32(body.len().try_into().unwrap());
        it.put_slice(body);
        it.put_u8(5);
        it.put_slice(b"topic");
        it.put_u16(properties.len().try_into().unwrap());
        it.put_slice(properties.as_bytes());
        let mut whole = BytesMut::new();
        whole.put_i32((it.len() + 4).try_into().unwrap());
        whole.put_slice(&it);
        whole
    }

    #[test]
    fn messages_are_read_and_what_is_none_ends_them() {
        let properties = property("UNIQ_KEY", "x") + &property(TO, "n%201");
        let mut all = stored(0, b"one", &properties);
        all.put_slice(&stored(BORN_IPV6 | STORED_IPV6, b"", ""));
        all.put_slice(&stored(COMPRESSED, b"?", ""));
        let whole = all.clone().freeze();
        let message = |to: Option<&str>, body: Option<&'static [u8]>| Stored {
            place: 7,
            to: to.map(str::to_owned),
            body: body.map(Bytes::from_static),
        };
        let expected = [
            message(Some("n%201"), Some(b"one")),
            message(None, Some(b"")),
            message(None, None),
        ];
        assert_eq!(read(whole.clone()), expected);
        // Cut anywhere, and with any length in front: no panic, and no more than there is.
        for end in 0..whole.len() {
            assert!(read(whole.slice(..end)).len() < 3);
            let mut broken = BytesMut::from(&whole[..]);
            broken[end] ^= 0x80;
            assert!(read(broken.freeze()).len() <= 3);
        }
    }
}
