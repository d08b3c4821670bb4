//! URLs of servers: `scheme://[user[:password]@]host[:port][,host[:port]…][/path]`.

use std::fmt;

use crate::connect::ConnectError;

/// The most servers that a URL names.
const HOSTS_MAX: usize = 64;

/// How URLs of a kind of server look.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The scheme without TLS.
    pub plain: &'static str,
    /// The scheme with it, if there is one.
    pub secure: Option<&'static str>,
    /// Both, as an error says them: `nats:// or tls://`.
    pub schemes: &'static str,
    /// The whole, as an error says it: `nats://[user:password@]host[:port]`.
    pub whole: &'static str,
    /// The port where none is given, without TLS and with it.
    pub ports: [u16; 2],
    /// Whether it may name several servers.
    pub has_many: bool,
    /// Whether it may end in a path.
    pub has_path: bool,
}

/// A URL, taken apart. Its `Debug` shows hosts and ports only.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// With TLS.
    pub is_secure: bool,
    /// Who logs in.
    pub user: Option<String>,
    /// By which password.
    pub password: Option<String>,
    /// The servers, at least one: host and port, with brackets around an IPv6.
    pub servers: Vec<String>,
    /// What stands behind the first slash, decoded; `None` without a slash.
    pub path: Option<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.addr()).finish()
    }
}

impl Address {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// When it has not the form. The URL is not repeated: it may hold a password.
    pub fn parse(url: &str, form: &Form) -> Result<Self, ConnectError> {
        let schemes = form.schemes;
        let (scheme, rest) = url
            .split_once("://")
            .ok_or(ConnectError::Scheme { schemes })?;
        let is_secure = match scheme {
            scheme if scheme == form.plain => false,
            scheme if Some(scheme) == form.secure => true,
            _ => return Err(ConnectError::Scheme { schemes }),
        };
        parse_rest(rest, is_secure, form).ok_or(ConnectError::Url { form: form.whole })
    }

    /// Hosts and ports, with commas.
    #[must_use]
    pub fn addr(&self) -> String {
        self.servers.join(",")
    }
}

fn parse_rest(rest: &str, is_secure: bool, form: &Form) -> Option<Address> {
    if rest.contains(['?', '#', ' ']) || rest.contains(char::is_control) {
        return None;
    }
    let (place, path) = match rest.split_once('/') {
        None => (rest, None),
        Some((place, "")) if !form.has_path => (place, None),
        Some(_) if !form.has_path => return None,
        Some((place, path)) => (place, Some(decoded(path)?)),
    };
    let (login, hosts) = match place.rsplit_once('@') {
        None => (None, place),
        // An @ in a password must be escaped.
        Some((login, _)) if login.contains('@') => return None,
        Some((login, hosts)) => (Some(login), hosts),
    };
    let (user, password) = match login.map(|it| it.split_once(':').unwrap_or((it, ""))) {
        None => (None, None),
        Some((user, password)) => (some(decoded(user)?), some(decoded(password)?)),
    };
    let port = form.ports[usize::from(is_secure)];
    let servers = hosts
        .split(',')
        .map(|host| server(host, port))
        .collect::<Option<Vec<_>>>()?;
    let most = if form.has_many { HOSTS_MAX } else { 1 };
    (servers.len() <= most).then_some(Address {
        is_secure,
        user,
        password,
        servers,
        path,
    })
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Host and port; `None` when it is no such thing.
fn server(text: &str, port: u16) -> Option<String> {
    let (host, after) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, after) = rest.split_once(']')?;
            ip.parse::<std::net::Ipv6Addr>().ok()?;
            (format!("[{ip}]"), after)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (text[..end].to_owned(), &text[end..])
        }
    };
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-._[:]".contains(c);
    if host.is_empty() || !host.chars().all(is_known) {
        return None;
    }
    let port = match after.strip_prefix(':') {
        None if after.is_empty() => port,
        None => return None,
        Some(port) => port.parse().ok().filter(|it| *it != 0)?,
    };
    Some(format!("{host}:{port}"))
}

/// With `%41` made `A`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Form = Form {
        plain: "x",
        secure: Some("xs"),
        schemes: "x:// or xs://",
        whole: "x://host",
        ports: [1, 2],
        has_many: true,
        has_path: true,
    };
    const ONE: Form = Form {
        secure: None,
        has_many: false,
        has_path: false,
        ..MANY
    };

    #[test]
    fn a_url_is_taken_apart() {
        let it = Address::parse("xs://u%40:p%3a@h,[::1]:7,h.b:8/%2fv", &MANY).unwrap();
        assert!(it.is_secure);
        assert_eq!(it.user.as_deref(), Some("u@"));
        assert_eq!(it.password.as_deref(), Some("p:"));
        assert_eq!(it.addr(), "h:2,[::1]:7,h.b:8");
        assert_eq!(it.path.as_deref(), Some("/v"));
        assert_eq!(format!("{it:?}"), "Address(\"h:2,[::1]:7,h.b:8\")");
        let it = Address::parse("x://127.0.0.1/", &ONE).unwrap();
        assert_eq!((it.addr().as_str(), it.path), ("127.0.0.1:1", None));
        assert_eq!((it.user, it.password), (None, None));
    }

    #[test]
    fn what_is_none_is_refused_without_being_shown() {
        for url in ["", "h", "y://hunter2", "hunter2:x://h", "xs://hunter2@h"] {
            let error = Address::parse(url, &ONE).unwrap_err();
            assert!(matches!(error, ConnectError::Scheme { .. }), "{url}");
            assert!(!format!("{error:?} {error}").contains("hunter2"));
        }
        for rest in [
            "",
            "hunter2@",
            "u:hunter2@h:port",
            "u:hunter2@h:0",
            "u:hunter2@h:70000",
            "u:hunter2@h,i",
            "u:hunter2@h/db",
            "u:hunter2@h?a=b",
            "u:hunter2@h#b",
            "u:hunt@er2@h",
            "u:hunter2%4@h",
            "u:hunter2%ff@h",
            "u:hunter2@[::1",
            "u:hunter2@[h]",
            "u:hunter2@[::1]7",
            "u:hunter2@h\n",
            "u:hunter2@h*",
        ] {
            let error = Address::parse(&format!("x://{rest}"), &ONE).unwrap_err();
            assert_eq!(error, ConnectError::Url { form: "x://host" }, "{rest}");
        }
    }
}
