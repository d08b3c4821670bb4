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
pub(crate) struct Scripts {
    pub(crate) enter: Script,
    pub(crate) renew: Script,
    pub(crate) leave: Script,
    pub(crate) put: Script,
    pub(crate) restore: Script,
    pub(crate) remove: Script,
    pub(crate) find: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            enter: script!("enter"),
            renew: script!("renew"),
            leave: script!("leave"),
            put: script!("put"),
            restore: script!("restore"),
            remove: script!("remove"),
            find: script!("find"),
        }
    }
}
