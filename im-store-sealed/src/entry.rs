//! Entries: what they say, sealed and opened.

use im_core::model::{Body, ConversationId, Entry, Family, Kind, NewEntry};
use im_core::port::{LogQuery, PortError, PortErrorKind};

use crate::Ring;
use crate::cipher::{Bound, NonceBytes, from_base64, to_base64};
use crate::keys::Held;

/// The form of what is sealed.
const FORM: u8 = 1;
/// The most bytes that a sealed body is longer than four thirds of what it was.
const OVERHEAD_BYTES: usize = 80;
/// Fewer bytes than any body has: its kind.
const BODY_BYTES_MIN: usize = 12;
/// What the number of a digest is made under.
const DIGEST_NONCE: NonceBytes = *b"imkit:digest";

/// Whether bodies of a kind hold what people write.
pub(crate) fn is_sealable(kind: Kind) -> bool {
    kind.family() == Family::Say || matches!(kind, Kind::Edit | Kind::Announce)
}

/// Whether an entry can't be read right without its author's key.
pub(crate) fn is_keyed(entry: &Entry) -> bool {
    match entry.body.kind() {
        Kind::Erased => entry.cm_id.is_some(),
        _ => sealed_text(&entry.body).is_some(),
    }
}

/// What stands before the sealed bytes in a body of a kind.
fn before(kind: Kind) -> String {
    format!("{{\"kind\":\"{}\",\"sealed\":\"", kind.as_str())
}

/// The sealed bytes of a body, in base64; `None` when it is not sealed.
fn sealed_text(body: &Body) -> Option<&str> {
    if !is_sealable(body.kind()) {
        return None;
    }
    let rest = body.json().strip_prefix(&before(body.kind()))?;
    let text = rest.strip_suffix("\"}")?;
    (!text.contains('"')).then_some(text)
}

/// A message's nonce is its id, which no other message has; its last bytes say what for.
fn nonce(entry: &NewEntry) -> NonceBytes {
    let mut nonce = *b"........entr";
    nonce[..8].copy_from_slice(&entry.id.0.to_le_bytes());
    nonce
}

/// Its place among all entries: what is sealed opens there only.
fn bound(conv: &ConversationId, entry: &NewEntry, kind: Kind) -> Bound {
    let cm_id = entry.cm_id.as_ref().map_or("", |cm_id| cm_id.as_str());
    Bound::to("imkit entry")
        .and(&[FORM])
        .and(conv.as_str().as_bytes())
        .and(entry.from.as_str().as_bytes())
        .and(&entry.id.0.to_le_bytes())
        .and(&entry.at.0.to_le_bytes())
        .and(kind.as_str().as_bytes())
        .and(cm_id.as_bytes())
}

/// What a digest is stored under: a digest alone would let anybody try which short text it is of.
/// One message of a sender is ever stored under a `cm_id`, so each number hides one digest.
fn digest_mask(held: &Held, conv: &ConversationId, entry: &NewEntry) -> u64 {
    let (Held::Key(key), Some(cm_id)) = (held, &entry.cm_id) else {
        return 0;
    };
    let of = Bound::to("imkit digest")
        .and(conv.as_str().as_bytes())
        .and(entry.from.as_str().as_bytes())
        .and(cm_id.as_str().as_bytes());
    key.number(DIGEST_NONCE, of.bytes())
}

/// Seals what a new entry says.
pub(crate) fn seal(
    conv: &ConversationId,
    entry: &mut NewEntry,
    ring: &Ring,
) -> Result<(), PortError> {
    let kind = entry.body.kind();
    if !is_sealable(kind) {
        return Ok(());
    }
    let held = ring.get(&entry.from).unwrap_or(&Held::None);
    let key = match held {
        Held::Key(key) => key,
        Held::Failed(error) => return Err(error.clone()),
        Held::Gone | Held::None => return Err(PortError::new(PortErrorKind::Fenced)),
    };
    entry.digest ^= digest_mask(held, conv, entry);
    let place = bound(conv, entry, kind);
    let mut sealed = vec![FORM];
    sealed.extend(key.seal(nonce(entry), entry.body.json().as_bytes(), place.bytes()));
    let mut json = before(kind);
    json.push_str(&to_base64(&sealed));
    json.push_str("\"}");
    entry.body = Body::from_stored(kind, json.into());
    Ok(())
}

/// Opens what an entry says. Of whom the data key is deleted, it says nothing; nor does what is
/// anything else than was sealed there.
pub(crate) fn open(entry: &mut Entry, held: &Held) -> Result<(), PortError> {
    if let Held::Failed(error) = held {
        return Err(error.clone());
    }
    let mask = digest_mask(held, &entry.conv, &entry.new);
    entry.new.digest ^= mask;
    let kind = entry.body.kind();
    let Some(sealed) = sealed_text(&entry.body) else {
        return Ok(());
    };
    let opened = match held {
        Held::Key(key) => from_base64(sealed).and_then(|bytes| {
            let (form, sealed) = bytes.split_first()?;
            let place = bound(&entry.conv, &entry.new, kind);
            let text = (*form == FORM).then(|| key.open(nonce(&entry.new), sealed, place.bytes()));
            String::from_utf8(text??).ok()
        }),
        _ => None,
    };
    if let Some(json) = opened {
        entry.new.body = Body::from_stored(kind, json.into());
        return Ok(());
    }
    if !matches!(held, Held::Gone) {
        metrics::counter!("im_seal_unreadable_total").increment(1);
        tracing::error!(
            conv = entry.conv.as_str(),
            seq = entry.seq.0,
            "what is stored is not what was sealed there; it reads as erased"
        );
    }
    entry.new.erase();
    Ok(())
}

/// A query that finds at least what fits when it is opened: sealed bodies are longer.
pub(crate) fn widened(query: &LogQuery) -> LogQuery {
    let mut query = query.clone();
    if let LogQuery::After { limit, bytes, .. } | LogQuery::Before { limit, bytes, .. } = &mut query
    {
        let most = (*limit).min(*bytes / BODY_BYTES_MIN + 1);
        let more = (*bytes / 3).saturating_add(most.saturating_mul(OVERHEAD_BYTES));
        *bytes = bytes.saturating_add(more);
    }
    query
}

/// Of what was found, as much as was asked for; the place that was asked from decides which.
pub(crate) fn bounded(mut found: Vec<Entry>, query: &LogQuery) -> Vec<Entry> {
    match query {
        LogQuery::After { bytes, .. } => {
            let fit = fit(found.iter(), *bytes);
            found.truncate(fit);
            found
        }
        LogQuery::Before { bytes, .. } => {
            let fit = fit(found.iter().rev(), *bytes);
            found.split_off(found.len() - fit)
        }
        LogQuery::Sent { .. } | LogQuery::Newest { .. } => found,
    }
}

/// How many entries have at most so many bytes of bodies; one at least.
fn fit<'a>(entries: impl Iterator<Item = &'a Entry>, bytes: usize) -> usize {
    let (mut left, mut count) = (bytes, 0);
    for entry in entries {
        let size = entry.body.json().len();
        if size > left && count > 0 {
            break;
        }
        left = left.saturating_sub(size);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use im_core::model::{CmId, Mentions, MessageId, Seq, Timestamp, UserId};

    use super::*;
    use crate::cipher::Cipher;

    fn conv() -> ConversationId {
        ConversationId::new("c").unwrap()
    }

    fn entry(kind: Kind, chars: usize) -> NewEntry {
        NewEntry {
            id: MessageId(7),
            from: UserId::new("al").unwrap(),
            at: Timestamp(1),
            cm_id: CmId::new("m").ok(),
            digest: 9,
            body: Body::of(kind, [("text", "é".repeat(chars).into())]),
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        }
    }

    fn ring() -> Ring {
        let key = Held::Key(Arc::new(Cipher::new(&[5; 32])));
        [(UserId::new("al").unwrap(), key)].into()
    }

    #[test]
    fn what_is_sealed_is_opened_and_within_the_length_that_reads_count_with() {
        let ring = ring();
        for kind in Kind::ALL {
            for chars in [0, 1, 2, 3, 100, 4_000] {
                let plain = entry(*kind, chars);
                let mut sealed = plain.clone();
                seal(&conv(), &mut sealed, &ring).unwrap();
                let (long, longer) = (plain.body.json().len(), sealed.body.json().len());
                assert!(
                    longer <= long + long / 3 + OVERHEAD_BYTES,
                    "{long} {longer}"
                );
                assert!(long >= BODY_BYTES_MIN);
                assert_eq!(sealed.body != plain.body, is_sealable(*kind));
                assert!(!is_sealable(*kind) || !sealed.body.json().contains('é'));
                let mut opened = sealed.at(conv(), Seq(1));
                if is_keyed(&opened) {
                    open(&mut opened, &ring[&plain.from]).unwrap();
                }
                assert!(opened.new == plain || *kind == Kind::Erased);
            }
        }
    }

    #[test]
    fn what_is_not_what_was_sealed_there_says_nothing() {
        let ring = ring();
        let held = &ring[&UserId::new("al").unwrap()];
        let mut sealed = entry(Kind::Text, 3);
        seal(&conv(), &mut sealed, &ring).unwrap();
        let good = sealed.at(conv(), Seq(1));
        let text = |text: &str| Body::from_stored(Kind::Text, text.into());
        let json = good.body.json().to_string();
        let cut = format!("{}\"}}", &json[..json.len() - 4]);
        let mut bad = vec![good.clone(); 6];
        bad[0].conv = ConversationId::new("d").unwrap();
        bad[1].new.id = MessageId(8);
        bad[2].new.at = Timestamp(2);
        bad[3].new.cm_id = CmId::new("n").ok();
        bad[4].new.body = text(&cut);
        // Another form than is known.
        let mut bytes = from_base64(sealed_text(&good.body).unwrap()).unwrap();
        bytes[0] += 1;
        bad[5].new.body = text(&format!("{}{}\"}}", before(Kind::Text), to_base64(&bytes)));
        for mut entry in bad {
            assert!(is_keyed(&entry));
            open(&mut entry, held).unwrap();
            assert_eq!(entry.body.kind(), Kind::Erased);
        }
        let mut other = good;
        let key = Held::Key(Arc::new(Cipher::new(&[6; 32])));
        open(&mut other, &key).unwrap();
        assert_eq!(other.body.kind(), Kind::Erased);
    }
}
