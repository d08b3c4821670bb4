//! The scripts, each with what all of them share before it.

use redis::Script;

macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(
            include_str!("lua/shared.lua"),
            include_str!(concat!("lua/", $name, ".lua"))
        ))
    };
}

#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) append: Script,
    pub(super) read: Script,
    pub(super) warm: Script,
    pub(super) close: Script,
    pub(super) settle: Script,
    pub(super) take: Script,
    pub(super) of: Script,
    pub(super) done: Script,
    pub(super) lag: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            append: script!("append"),
            read: script!("read"),
            warm: script!("warm"),
            close: script!("close"),
            settle: script!("settle"),
            take: script!("take"),
            of: script!("of"),
            done: script!("done"),
            lag: script!("lag"),
        }
    }
}
