//! The nodes of a cluster, as a client knows them.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::ConnectError;
use crate::socket;

/// Where the WebSocket is, below what the server is mounted at.
const PATH: &str = "/v1/ws";

/// One or more addresses, taken in turn from a random one on: so clients spread over the nodes, and
/// one that a node sent away goes to another.
#[derive(Debug)]
pub(crate) struct Addresses {
    urls: Vec<String>,
    turn: AtomicUsize,
}

impl Addresses {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            urls: vec![full_url(url)],
            turn: AtomicUsize::new(0),
        }
    }

    pub(crate) fn add(&mut self, url: &str) {
        self.urls.push(full_url(url));
        let turn = fastrand::usize(..self.urls.len());
        self.turn = AtomicUsize::new(turn);
    }

    /// # Errors
    /// When one of them is no URL of a server.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        self.urls.iter().try_for_each(|url| socket::check_url(url))
    }

    /// How many there are, at least one.
    pub(crate) const fn count(&self) -> usize {
        self.urls.len()
    }

    /// The next one.
    pub(crate) fn next(&self) -> &str {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        &self.urls[turn % self.urls.len()]
    }
}

fn full_url(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with(PATH) {
        url.to_owned()
    } else {
        format!("{url}{PATH}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_address_has_its_turn() {
        let mut addresses = Addresses::new("ws://a/");
        addresses.add("ws://b/chat");
        addresses.add("ws://c/v1/ws");
        let first: Vec<_> = (0..3).map(|_| addresses.next()).collect();
        let all = ["ws://a/v1/ws", "ws://b/chat/v1/ws", "ws://c/v1/ws"];
        assert_eq!(BTreeSet::from_iter(first.clone()), BTreeSet::from(all));
        let again: Vec<_> = (0..3).map(|_| addresses.next()).collect();
        assert_eq!(first, again);
    }

    #[test]
    fn each_is_checked() {
        let mut addresses = Addresses::new("ws://a");
        assert!(addresses.check().is_ok());
        addresses.add("b");
        assert!(matches!(addresses.check(), Err(ConnectError::Url(_))));
    }
}
