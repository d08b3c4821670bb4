//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use im_core::model::{ConversationId, UserId};

use crate::given::Given;
use crate::shards::Slots;

/// A ready imkit server: chat over WebSocket and HTTP, with its messages in SQLite.
///
/// Each setting is a flag, a variable and a key of the TOML file; the flag wins over the variable,
/// the variable over the file.
#[derive(Debug, Parser)]
#[command(name = "im-server", version, args_conflicts_with_subcommands = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// A TOML file with settings
    #[arg(long, env = "IMKIT_CONFIG", global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Look around: three users and their chats, in a store that is gone afterwards
    #[arg(long)]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) given: Given,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Mint a token for a user, signed with the configured secret
    Token {
        /// The user's id
        user: UserId,
        /// How long it holds: 30s, 15m, 12h, 7d
        #[arg(long, default_value = "1h", value_parser = ttl)]
        ttl: Duration,
        /// The name to show
        #[arg(long)]
        name: Option<String>,
        /// A role; may be given several times
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// Check the settings and print those in force, without the secret
    Check,
    /// Make, list and end keys of programs. A SQLite file is the running server's: stop it first
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// See what webhooks gave up, and tell it again. A SQLite file is the running server's: stop it
    /// first
    Webhooks {
        #[command(subcommand)]
        command: WebhooksCommand,
    },
    /// Make keys for encryption at rest, and let them take turns
    Seal {
        #[command(subcommand)]
        command: SealCommand,
    },
    /// Look at the slots of several databases, and move them
    Shards {
        #[command(subcommand)]
        command: ShardsCommand,
    },
}

/// What to do with the keys of programs.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key, and print it: this once
    Add {
        /// What it is for
        name: String,
        /// As whom it speaks
        #[arg(long)]
        user: UserId,
        /// What it may call, with commas: messages.send,conv.*
        #[arg(long, value_delimiter = ',', default_value = "messages.send")]
        methods: Vec<String>,
        /// How long it holds: 12h, 90d [default: for ever]
        #[arg(long, value_parser = ttl)]
        ttl: Option<Duration>,
    },
    /// Print the keys, without what is secret
    List,
    /// End a key, at once
    Revoke {
        /// Its id, as `list` prints it
        id: String,
    },
}

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// Print what was given up
    Dead {
        /// The endpoint's name in --webhooks
        name: String,
    },
    /// Tell a conversation again, from an entry on
    Replay {
        /// The endpoint's name in --webhooks
        name: String,
        /// The conversation
        conv: ConversationId,
        /// The place of the entry
        #[arg(long, default_value_t = 1)]
        from: u64,
    },
}

/// What to do with the keys of `--seal-keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum SealCommand {
    /// Add a random key to the file, which is made when missing
    NewKey,
    /// Print which keys are needed, and what a rotation has left to do
    Status,
    /// Wrap every data key with the active key. A running server does so by itself, bit by bit
    Rotate,
}

/// What to do with the databases of `--shards`.
#[derive(Debug, Subcommand)]
pub(crate) enum ShardsCommand {
    /// Print which slots each database has
    Status,
    /// Move slots to another database, while the service runs. What was begun and not finished goes
    /// on when it is called again
    Move {
        /// Which, from 0 to 1023: 0-511,600
        slots: Slots,
        /// The database, by its place in --shards, from 0
        #[arg(long, value_name = "DATABASE")]
        to: usize,
    },
}

/// A time as people write it.
fn ttl(text: &str) -> Result<Duration, String> {
    let bad = || "must be a number with s, m, h or d behind it: 12h".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    match count.checked_mul(seconds) {
        // A hundred years: beyond it the end is no number that clients can hold.
        Some(seconds @ 1..=3_155_760_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be from 1s to 100 years".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_a_number_and_a_unit() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("2d"), Ok(Duration::from_secs(172_800)));
        for bad in [
            "",
            "s",
            "1",
            "-1h",
            "1.5h",
            "0s",
            "1w",
            "99999999999d",
            "1é",
        ] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
