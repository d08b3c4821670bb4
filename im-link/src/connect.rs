//! Why there is no connection, in words that show the address and never a secret.

use std::fmt;
use std::time::Duration;

/// How long a connection may take, with TLS and login, and an answer on it.
pub const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// The longest prefix.
const PREFIX_CHARS_MAX: usize = 64;
/// What a certificate in a text begins with.
const PEM: &str = "-----BEGIN CERTIFICATE-----";

/// Who is talked to, and where; nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The kind of server, such as `Redis`.
    pub what: &'static str,
    /// Host and port, with commas where there are several.
    pub addr: String,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.what, self.addr)
    }
}

/// Why there is no connection. Shows the address, never the credentials: a URL is not repeated, and
/// neither is what a server answers to a login, since some quote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Another scheme, or none.
    #[error("the URL must begin with {schemes}")]
    Scheme {
        /// Those that are known.
        schemes: &'static str,
    },
    /// The right scheme, and then something else.
    #[error("the URL is not {form}")]
    Url {
        /// What it should look like.
        form: &'static str,
    },
    /// An option that can't be used.
    #[error("{0}")]
    Option(&'static str),
    /// Certificates that are none, or without TLS.
    #[error("CA certificates are PEM text, and for a URL with TLS only")]
    Ca,
    /// TLS without a provider of it.
    #[error(
        "TLS needs rustls' provider: call rustls::crypto::ring::default_provider() \
         .install_default() first"
    )]
    NoTlsProvider,
    /// Nobody answers there.
    #[error("{at} can't be reached: {reason}")]
    Unreachable {
        /// Who and where.
        at: At,
        /// What the system says.
        reason: String,
    },
    /// Wrong user or password, none where one is needed, or no right to what is asked for.
    #[error("{at} refuses the credentials")]
    Credentials {
        /// Who and where.
        at: At,
    },
    /// It is something else, or an old one.
    #[error("what answers there is no {at}, or one that is too old")]
    Protocol {
        /// Who should be there, and where.
        at: At,
    },
    /// It answers with an error.
    #[error("{at} refuses: {code}")]
    Refused {
        /// Who and where.
        at: At,
        /// The error's name.
        code: String,
    },
}

impl ConnectError {
    /// Nobody answers there, and this is what the client or the system says.
    #[must_use]
    pub fn unreachable(at: &At, reason: impl ToString) -> Self {
        Self::Unreachable {
            at: at.clone(),
            reason: reason.to_string(),
        }
    }

    /// It did not answer within `wait`.
    #[must_use]
    pub fn silent(at: &At, wait: Duration) -> Self {
        Self::unreachable(at, format!("no answer within {wait:?}"))
    }

    /// The server answered with an error of this name.
    #[must_use]
    pub fn refused(at: &At, code: impl ToString) -> Self {
        Self::Refused {
            at: at.clone(),
            code: code.to_string(),
        }
    }
}

/// Whether a prefix of names can be used: nothing in it is a separator or a pattern of any server,
/// so that no prefix with a name is another prefix with another name.
///
/// # Errors
/// When it is not 1–64 characters of `A-Z a-z 0-9 _ -`, and dots.
pub fn check_prefix(prefix: &str) -> Result<(), ConnectError> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if (1..=PREFIX_CHARS_MAX).contains(&prefix.len()) && prefix.chars().all(is_known) {
        return Ok(());
    }
    Err(ConnectError::Option(
        "a prefix has 1 to 64 characters of A-Z a-z 0-9 _ - .",
    ))
}

/// A name with nothing in it but `A-Z a-z 0-9 _ -` and, for each other byte, `%` and its two
/// digits: no two names become one, and none is a pattern.
#[must_use]
pub fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "_-".contains(c) {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Whether a text may be one of certificates.
///
/// # Errors
/// When there is none in it.
pub fn check_ca(pem: &str) -> Result<(), ConnectError> {
    if pem.contains(PEM) {
        return Ok(());
    }
    Err(ConnectError::Ca)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_could_meet_another_is_refused() {
        for prefix in ["", "a:b", "a b", "ä", "{a}", "a*", "a>", &"x".repeat(65)] {
            assert!(check_prefix(prefix).is_err(), "{prefix:?}");
        }
        assert_eq!(check_prefix("im-1.a_B"), Ok(()));
    }

    #[test]
    fn an_escaped_name_is_nobody_elses() {
        assert_eq!(escaped("aZ_-9"), "aZ_-9");
        assert_eq!(escaped("a.*>|% ä"), "a%2E%2A%3E%7C%25%20%C3%A4");
    }
}
