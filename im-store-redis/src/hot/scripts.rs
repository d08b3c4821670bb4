//! The scripts of the hot tier.

crate::scripts::scripts! { hello append read warm close settle take of done lag }
