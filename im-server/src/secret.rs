//! The secret that tokens are signed with: where it comes from, and which are refused.

use std::fmt;
use std::path::Path;

use crate::error::ServerError;

/// A shorter one can be guessed by trying.
const BYTES_MIN: usize = 32;
/// What stands in examples, so that no server runs with what everybody knows.
const KNOWN: [&str; 2] = [
    "demo-secret-demo-secret-demo-secret-demo",
    "change-me-change-me-change-me-change-me",
];

/// A secret; never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(set, {} bytes)", self.0.len())
    }
}

impl Secret {
    /// One that nobody knows, for a demo: as long as the process lives.
    pub(crate) fn random() -> Self {
        let part = || uuid::Uuid::new_v4().simple().to_string();
        Self(format!("{}{}", part(), part()))
    }

    /// The secret that was given, by value or by file.
    pub(crate) fn given(
        value: Option<String>,
        file: Option<&Path>,
    ) -> Result<Option<Self>, ServerError> {
        match (value, file) {
            (Some(_), Some(_)) => Err(ServerError::setting(
                "jwt_secret_file",
                "give the secret or a file that holds it, not both",
            )),
            (Some(value), None) => Ok(Some(Self(value))),
            (None, None) => Ok(None),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let what = format!("{} can't be read: {error}", path.display());
                    ServerError::setting("jwt_secret_file", what)
                })?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                Ok(Some(Self(
                    text.strip_suffix('\r').unwrap_or(text).to_owned(),
                )))
            }
        }
    }

    /// Refuses what is no secret.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        let refuse = |what: &str| {
            let what = format!("{what}. Make one with: head -c 32 /dev/urandom | base64");
            Err(ServerError::setting("jwt_secret", what))
        };
        if self.0.len() < BYTES_MIN {
            return refuse(&format!(
                "the secret has {} bytes, and at least {BYTES_MIN} are needed",
                self.0.len()
            ));
        }
        if KNOWN.contains(&self.0.as_str()) {
            return refuse("this secret stands in the documentation, so everybody knows it");
        }
        let first = self.0.bytes().next();
        if self.0.bytes().all(|byte| Some(byte) == first) {
            return refuse("the secret is one character, repeated");
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        let secret = Secret(text.to_owned());
        secret.check().err().map(|error| error.to_string())
    }

    #[test]
    fn what_can_be_guessed_is_refused_with_what_to_do() {
        for (bad, why) in [
            ("", "0 bytes"),
            ("0123456789abcdef0123456789abcde", "31 bytes"),
            (KNOWN[0], "documentation"),
            (KNOWN[1], "documentation"),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "repeated"),
        ] {
            let words = refused(bad).unwrap();
            assert!(
                words.contains(why) && words.contains("/dev/urandom"),
                "{words}"
            );
            assert!(
                bad.is_empty() || !words.contains(bad),
                "the secret is never printed"
            );
        }
        assert_eq!(refused("0123456789abcdef0123456789abcdef"), None);
    }

    #[test]
    fn a_random_secret_is_good_and_no_two_are_the_same() {
        assert!(Secret::random().check().is_ok());
        assert_ne!(Secret::random(), Secret::random());
        assert!(!format!("{:?}", Secret::random()).contains(char::is_uppercase));
    }
}
