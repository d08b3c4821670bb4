//! Addresses of stores, as they may be shown.

/// An address without what is secret in it, for logs and errors: who logs in and by which password
/// (what stands before the host), and the parameters.
#[must_use]
pub fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return "(no scheme://)".to_owned();
    };
    if scheme == "sqlite" {
        return address.to_owned();
    }
    // The last: a password may hold an @ that should have been escaped.
    let (who, place) = rest
        .rsplit_once('@')
        .map_or(("", rest), |(_, host)| ("…@", host));
    let place = place.split('?').next().unwrap_or_default();
    format!("{scheme}://{who}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_is_secret() {
        for (address, shown) in [
            ("mysql://im:a@b@host:1/db", "mysql://…@host:1/db"),
            ("postgres://host/db?password=x", "postgres://host/db"),
            ("oracle://host", "oracle://host"),
            ("sqlite://chat@home.db", "sqlite://chat@home.db"),
            ("im:secret@host", "(no scheme://)"),
        ] {
            assert_eq!(redacted(address), shown);
        }
    }
}
