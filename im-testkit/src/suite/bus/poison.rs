//! What nobody can read is passed over.

use std::future::Future;

use bytes::Bytes;
use im_core::port::To;

use super::{Reach, next, send, subscribe};

/// Garbage, other versions, unknown kinds and what is too large are passed over, and what comes
/// after them is heard. `publish` sends raw bytes to node `n` and to all, past the bus; it may
/// refuse what is too large for the broker.
///
/// # Panics
/// When that does not hold.
pub async fn poison_is_passed_over<F>(reach: &Reach, publish: impl Fn(Bytes) -> F)
where
    F: Future<Output = ()>,
{
    let bus = reach.direct().await;
    let mut heard = subscribe(&bus, "n").await;
    let oversized = [&[0xB5, 1, 0][..], &vec![0; 1_040_000]].concat();
    for poison in [
        &b""[..],
        b"garbage",
        &[0xB5, 9, 0, 1],
        &[0xB5, 1, 77, 1],
        &oversized,
    ] {
        publish(Bytes::copy_from_slice(poison)).await;
    }
    // That it is heard shows that poison has the names of the bus.
    publish(Bytes::from_static(&[0xB5, 1, 0, b'x'])).await;
    assert_eq!(next(&mut heard).await, "x");
    assert_eq!(next(&mut heard).await, "x");
    send(&bus, To::All, "good").await;
    assert_eq!(next(&mut heard).await, "good");
}
