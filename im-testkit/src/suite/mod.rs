//! Conformance suites, one for each port: what the port's documentation says, case by case.
//!
//! An adapter passes a suite with one line in its tests:
//!
//! ```
//! use std::sync::Arc;
//! use im_core::port::Store;
//! use im_testkit::memory::MemoryStore;
//!
//! async fn fresh() -> ((), Arc<dyn Store>) {
//!     ((), Arc::new(MemoryStore::new()))
//! }
//!
//! im_testkit::store_suite!(fresh());
//! ```
//!
//! The expression is evaluated anew in each case and gives `(guard, adapter)`: an adapter that
//! nothing was written to yet, and whatever must live as long as it does (a folder, a server's
//! process), dropped when the case ends. Every case becomes a `#[test]` of its own, with a bound
//! on its time, so a failure names the sentence that does not hold.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a suite says what does not hold by panicking"
)]

use std::future::Future;
use std::time::Duration;

pub mod auth;
pub mod blobs;
pub mod bus;
pub mod directory;
pub mod hooks;

pub mod registry;
pub mod store;

// By the names that the macros know.
#[doc(hidden)]
pub use self::bus::{start as bus_start, way as bus_way};

/// How long one case may take; real servers on a busy machine are slow, a hang is not a result.
const CASE_TIME_MAX: Duration = Duration::from_secs(120);

/// Runs one case on a runtime of its own with two worker threads, so that tasks truly meet.
///
/// # Panics
/// When the case fails, or takes more than two minutes.
pub fn run_case(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime");
    let done = runtime.block_on(async { tokio::time::timeout(CASE_TIME_MAX, case).await });
    // An adapter's own tasks must not hold the test up.
    runtime.shutdown_background();
    assert!(done.is_ok(), "the case took over {CASE_TIME_MAX:?}");
}

/// What a suite's expression gives: `(guard, adapter)`, or `None` of it when there is nothing to
/// test here, such as no server to talk to. Whoever skips says so elsewhere: a case has no way to.
pub trait Fresh<G, A> {
    /// The guard and the adapter, if there are.
    fn of(self) -> Option<(G, A)>;
}

impl<G, A> Fresh<G, A> for (G, A) {
    fn of(self) -> Option<(G, A)> {
        Some(self)
    }
}

impl<G, A> Fresh<G, A> for Option<(G, A)> {
    fn of(self) -> Self {
        self
    }
}

/// Makes a `#[test]` of each case of a module. Used by the suites' own macros.
#[doc(hidden)]
#[macro_export]
macro_rules! suite_cases {
    ($new:expr, $module:ident, $($case:ident)+) => {
        $(
            #[test]
            fn $case() {
                $crate::suite::run_case(async {
                    let fresh = $crate::suite::Fresh::of($new.await);
                    if let Some((guard, adapter)) = fresh {
                        $crate::suite::$module::$case(adapter).await;
                        drop(guard);
                    }
                });
            }
        )+
    };
}

/// The cases that a suite's macro does not name, or names without there being one.
#[cfg(test)]
pub(crate) fn unnamed_cases(of_macro: &str, sources: &[&str]) -> Vec<String> {
    let defined = sources.iter().flat_map(|source| {
        source
            .split("\npub async fn ")
            .skip(1)
            .filter_map(|rest| rest.split(['(', '<']).next())
    });
    let defined: std::collections::BTreeSet<_> = defined.collect();
    let named: std::collections::BTreeSet<_> = of_macro
        .split_whitespace()
        .filter(|word| word.contains('_'))
        .collect();
    defined
        .difference(&named)
        .map(|name| (*name).to_owned())
        .collect()
}
