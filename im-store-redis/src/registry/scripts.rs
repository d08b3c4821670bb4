//! The scripts of the registry.

crate::scripts::scripts! { enter renew leave put restore remove find }
