//! The scripts of the hot tier.

crate::scripts::scripts! { append read warm close settle take of done lag }
