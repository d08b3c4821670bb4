//! Why the server does not start, in words that say what to do.

use std::path::PathBuf;

/// Why the server does not start or a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The configuration file.
    #[error("{}: {what}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong, with the key's name.
        what: String,
    },
    /// A setting, by its flag's name.
    #[error("--{flag}: {what}")]
    Setting {
        /// The flag without its dashes.
        flag: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The address can't be listened on.
    #[error("{0}")]
    Listen(String),
    /// The store can't be opened.
    #[error("the store {url} can't be opened (--store)")]
    Store {
        /// As it was given.
        url: String,
        /// Why.
        source: Box<im_store_sql::OpenError>,
    },
    /// A slot did not move.
    #[error(transparent)]
    Move(#[from] im_store_sharded::MoveError),
    /// A key of a program.
    #[error(transparent)]
    Key(#[from] im_node::keys::KeyError),
    /// The store did not answer.
    #[error("the store did not answer")]
    Port(#[from] im_core::port::PortError),
    /// Keys for encryption at rest.
    #[error("what people write can't be sealed (--seal-keys)")]
    Seal(#[from] im_store_sealed::SealError),
    /// The node did not start.
    #[error("the node did not start")]
    Node(#[from] im_node::StartError),
    /// A refusal of the service, while the demo's data were made.
    #[error("the demo's data could not be made: {0}")]
    Demo(#[from] im_core::frame::Failure),
    /// A token can't be minted.
    #[error("no token: {0}")]
    Token(String),
    /// The system said no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl ServerError {
    /// A setting that is wrong, by the name of its field.
    pub(crate) fn setting(field: &str, what: impl Into<String>) -> Self {
        Self::Setting {
            flag: field.replace('_', "-"),
            what: what.into(),
        }
    }
}
