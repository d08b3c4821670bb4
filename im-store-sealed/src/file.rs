//! Master keys in a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use zeroize::Zeroizing;

use crate::cipher::{Cipher, KEY_BYTES, NONCE_BYTES, TAG_BYTES, random};
use crate::error::SealError;
use crate::keyring::{DATA_KEY_BYTES, Keyring, MasterId, Wrapped};

/// The most keys in a file: one is in use, and one more while a rotation runs.
const KEYS_MAX: usize = 64;
/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Master keys, one a line, `NUMBER KEY`, the key 32 random bytes in base64; and the line
/// `active NUMBER`. Empty lines and those that begin with `#` are passed over.
///
/// The file must be readable by nobody but its owner.
#[derive(Debug)]
pub struct FileKeys {
    path: Option<PathBuf>,
    keys: RwLock<Arc<Keys>>,
}

#[derive(Debug)]
struct Keys {
    active: MasterId,
    all: BTreeMap<MasterId, Cipher>,
}

impl FileKeys {
    /// The keys of a file.
    ///
    /// # Errors
    /// [`SealError::File`] when it can't be read, others may read it, or a line makes no sense.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        Ok(Self {
            keys: RwLock::new(Arc::new(read(path, true)?)),
            path: Some(path.to_owned()),
        })
    }

    /// The same of a file that others may read: for a demo.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for who may read it.
    pub fn open_unsafe(path: &Path) -> Result<Self, SealError> {
        Ok(Self {
            keys: RwLock::new(Arc::new(read(path, false)?)),
            path: None,
        })
    }

    /// Keys from a text of the same form.
    ///
    /// # Errors
    /// [`SealError::File`] when a line makes no sense.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let keys = parse(text).map_err(|what| bad(Path::new("the keys"), what))?;
        Ok(Self {
            path: None,
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    /// Reads the file again: a key that was added, or made active, is in use from then on. On an
    /// error the keys stay what they were.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reload(&self) -> Result<(), SealError> {
        if let Some(path) = &self.path {
            *self.keys.write() = Arc::new(read(path, true)?);
        }
        Ok(())
    }

    /// A file's text with one more key, random, which is not active unless it is the first.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), of the text that there is.
    pub fn with_new_key(text: &str) -> Result<(MasterId, String), SealError> {
        let is_first = text.lines().all(|line| words(line).is_none());
        let number = match is_first {
            true => 1,
            false => {
                let keys = parse(text).map_err(|what| bad(Path::new("the keys"), what))?;
                let last = keys.all.last_key_value().map_or(0, |(id, _)| id.0);
                last.saturating_add(1)
            }
        };
        let key = Zeroizing::new(STANDARD.encode(*random::<KEY_BYTES>()?));
        let mut text = text.to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if is_first {
            let _ = writeln!(text, "active {number}");
        }
        let _ = writeln!(text, "{number} {}", *key);
        Ok((MasterId(number), text))
    }

    /// Whether new data keys are wrapped with that one.
    #[must_use]
    pub fn is_active(&self, id: MasterId) -> bool {
        self.keys.read().active == id
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read())
    }
}

fn bad(path: &Path, what: impl Into<String>) -> SealError {
    SealError::File {
        path: path.display().to_string(),
        what: what.into(),
    }
}

fn read(path: &Path, strict: bool) -> Result<Keys, SealError> {
    let failed = |error: std::io::Error| bad(path, format!("can't be read: {error}"));
    // Of the open file, so that it is the one that is read.
    let file = std::fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if strict && is_open_to_others(&meta) {
        return Err(bad(path, "others may read or change it: chmod 600 it"));
    }
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return Err(bad(path, "is no file of keys"));
    }
    let text = std::io::read_to_string(file).map_err(failed)?;
    let text = Zeroizing::new(text);
    parse(&text).map_err(|what| bad(path, what))
}

#[cfg(unix)]
fn is_open_to_others(meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    meta.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &std::fs::Metadata) -> bool {
    false
}

/// The two words of a line; `None` of one that says nothing.
fn words(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    Some(line.split_once(char::is_whitespace).unwrap_or((line, "")))
}

fn parse(text: &str) -> Result<Keys, String> {
    let mut active = None;
    let mut all = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let Some((name, value)) = words(line) else {
            continue;
        };
        let at = at + 1;
        let number = |text: &str| text.trim().parse().ok().filter(|number| *number > 0);
        let no_number = || format!("line {at}: a number from 1 is missing");
        if name == "active" {
            let number = number(value).ok_or_else(no_number)?;
            if active.replace(MasterId(number)).is_some() {
                return Err(format!("line {at}: a second active key"));
            }
            continue;
        }
        let number = number(name).ok_or_else(no_number)?;
        let cipher = key(value).ok_or_else(|| {
            format!(
                "line {at}: no key: 32 random bytes in base64, head -c 32 /dev/urandom | base64"
            )
        })?;
        if all.insert(MasterId(number), cipher).is_some() {
            return Err(format!("line {at}: a second key of that number"));
        }
    }
    if all.len() > KEYS_MAX {
        return Err(format!("holds more than {KEYS_MAX} keys"));
    }
    let active = active.ok_or("has no line `active NUMBER`")?;
    if !all.contains_key(&active) {
        return Err(format!("the active key, {active}, is not in it"));
    }
    Ok(Keys { active, all })
}

fn key(text: &str) -> Option<Cipher> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
    let bytes: &[u8; KEY_BYTES] = bytes.as_slice().try_into().ok()?;
    // All the same byte is no key, but what somebody left in a template.
    let first = bytes[0];
    if bytes.iter().all(|byte| *byte == first) {
        return None;
    }
    Some(Cipher::new(bytes))
}

#[async_trait]
impl Keyring for FileKeys {
    fn active(&self) -> MasterId {
        self.keys.read().active
    }

    fn has(&self, master: MasterId) -> bool {
        self.keys.read().all.contains_key(&master)
    }

    async fn wrap(&self, key: &[u8; DATA_KEY_BYTES], bound: &[u8]) -> Result<Wrapped, SealError> {
        let keys = self.keys();
        let master = keys.active;
        let cipher = keys.all.get(&master);
        let cipher = cipher.ok_or(SealError::MissingMaster(master))?;
        let nonce = *random::<NONCE_BYTES>()?;
        let mut bytes = nonce.to_vec();
        bytes.extend(cipher.seal(nonce, key, bound));
        Ok(Wrapped { master, bytes })
    }

    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        bound: &[u8],
    ) -> Result<Zeroizing<[u8; DATA_KEY_BYTES]>, SealError> {
        let keys = self.keys();
        let cipher = keys.all.get(&wrapped.master);
        let cipher = cipher.ok_or(SealError::MissingMaster(wrapped.master))?;
        let wrong = || SealError::WrongMaster(wrapped.master);
        if wrapped.bytes.len() != NONCE_BYTES + DATA_KEY_BYTES + TAG_BYTES {
            return Err(wrong());
        }
        let (nonce, sealed) = wrapped.bytes.split_at(NONCE_BYTES);
        let nonce = nonce.try_into().map_err(|_| wrong())?;
        let opened = cipher.open(nonce, sealed, bound).ok_or_else(wrong)?;
        let opened = Zeroizing::new(opened);
        let mut key = Zeroizing::new([0; DATA_KEY_BYTES]);
        key.copy_from_slice(&opened);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn refused(text: &str) -> String {
        FileKeys::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_file_of_keys_is_refused_by_the_line_and_without_what_it_holds() {
        let good = format!("# keys\n\nactive 2\n1 {ONE}\n  2\t{ONE}  \n");
        assert_eq!(FileKeys::parse(&good).unwrap().active(), MasterId(2));
        for (text, words) in [
            (String::new(), "no line `active"),
            (format!("1 {ONE}"), "no line `active"),
            (format!("active 2\n1 {ONE}"), "2, is not in it"),
            (format!("active 1\n1 {ONE}\n1 {ONE}"), "line 3"),
            (format!("active 1\nactive 1\n1 {ONE}"), "line 2"),
            (format!("active 0\n1 {ONE}"), "line 1"),
            (format!("active 1\n0 {ONE}"), "line 2"),
            ("active 1\n1 MDEy".to_owned(), "line 2"),
            ("active 1\n1".to_owned(), "line 2"),
            (
                format!("active 1\n1 {}", STANDARD.encode([7; 32])),
                "line 2",
            ),
        ] {
            let refused = refused(&text);
            assert!(refused.contains(words), "{refused}");
            assert!(!refused.contains("MDEy"), "{refused}");
        }
    }

    #[test]
    fn new_keys_are_numbered_on_and_the_first_is_active() {
        let (first, text) = FileKeys::with_new_key("# mine\n").unwrap();
        let (second, text) = FileKeys::with_new_key(&text).unwrap();
        assert_eq!((first, second), (MasterId(1), MasterId(2)));
        let keys = FileKeys::parse(&text).unwrap();
        assert_eq!(keys.active(), MasterId(1));
        assert!(keys.has(MasterId(2)) && !keys.has(MasterId(3)));
        assert!(text.starts_with("# mine\nactive 1\n1 "));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, format!("active 1\n1 {ONE}\n")).unwrap();
        for (mode, is_good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).unwrap();
            assert_eq!(FileKeys::open(&path).is_ok(), is_good);
            assert!(FileKeys::open_unsafe(&path).is_ok());
        }
    }
}
