//! What an operator can set.

use std::time::Duration;

use im_core::frame::Limits;
use im_core::model::{ConversationKind, NodeId};
use im_core::rule::ChangeWindows;

use crate::media::{PART_BYTES, PARTS_MAX};
use crate::moderation::LISTS_EVERY;
use crate::rates::Rates;

/// Who may write to whom in a direct conversation; beside it the hooks decide on every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteTo {
    /// Everybody to everybody.
    Anyone,
    /// Friends to each other.
    Friends,
}

/// How long conversations keep what was said, by kind; `None` is for ever. What is older is shown
/// to nobody, and erased within hours: its words, what was done to it, its pins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Between two users.
    pub direct: Option<Duration>,
    /// In groups.
    pub group: Option<Duration>,
    /// In channels.
    pub channel: Option<Duration>,
    /// At the service desk.
    pub desk: Option<Duration>,
}

impl Retention {
    /// How long conversations of a kind keep what was said.
    #[must_use]
    pub const fn of(&self, kind: ConversationKind) -> Option<Duration> {
        match kind {
            ConversationKind::Direct => self.direct,
            ConversationKind::Group => self.group,
            ConversationKind::Channel => self.channel,
            ConversationKind::Desk => self.desk,
            // What the staff did is kept.
            ConversationKind::Audit => None,
        }
    }

    /// Whether all is kept for ever.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.direct.is_none()
            && self.group.is_none()
            && self.channel.is_none()
            && self.desk.is_none()
    }
}

/// Bounds on uploads and blobs.
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// The most bytes of one upload.
    pub bytes_max: u64,
    /// The most bytes of all of a user's uploads, of unfinished ones as they were said.
    pub user_bytes_max: u64,
    /// How many uploads a user may have.
    pub user_count_max: u64,
    /// How many uploads come at once on this node; each takes up to
    /// [`PART_BYTES`](crate::PART_BYTES) of memory.
    pub uploads_max: usize,
    /// How long an unfinished upload stands without a byte more.
    pub upload: Duration,
    /// How long a blob stands that no message names.
    pub unnamed: Duration,
    /// How long a blob in quarantine stands without a decision.
    pub quarantine: Duration,
    /// How long a URL is good by which a blob is read.
    pub link: Duration,
    /// How long an inspection may take.
    pub inspect_deadline: Duration,
}

impl Default for MediaSettings {
    /// 100 MiB an upload; 2 GiB and 10,000 uploads a user; a day to finish and to be named.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3_600);
        Self {
            bytes_max: 100 << 20,
            user_bytes_max: 2 << 30,
            user_count_max: 10_000,
            uploads_max: 32,
            upload: DAY,
            unnamed: DAY,
            quarantine: 30 * DAY,
            link: Duration::from_secs(5 * 60),
            inspect_deadline: Duration::from_secs(60),
        }
    }
}

/// Settings of a node. The defaults are those of the protocol's contract.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node's name, unique among the nodes of one registry.
    pub node: NodeId,
    /// What clients must keep to.
    pub limits: Limits,
    /// How long a new connection may take to say hello.
    pub hello: Duration,
    /// How often the node gives a sign of life; a connection silent for twice that is closed.
    pub heartbeat: Duration,
    /// How long a shutdown may take: `bye`s are spread over the first half of it.
    pub drain: Duration,
    /// How long a commit may take before its senders are told `unavailable`.
    pub commit_deadline: Duration,
    /// How long a hook may take.
    pub hook_deadline: Duration,
    /// Who may write to whom.
    pub write_to: WriteTo,
    /// How long a request to be friends stands.
    pub friend_request: Duration,
    /// How long a request to come into a group stands.
    pub join_request: Duration,
    /// The most members of a group; each may set itself a lower bound.
    pub group_members_max: u32,
    /// The most subscribers of a channel.
    pub channel_members_max: u32,
    /// How long entries may be edited and recalled.
    pub changes: ChangeWindows,
    /// How often each user, device and key may ask.
    pub rates: Rates,
    /// The public key that pages subscribe to pushes with, if there are any.
    pub push_key: Option<String>,
    /// How long conversations keep what was said; the same on all nodes.
    pub retention: Retention,
    /// Bounds on uploads and blobs.
    pub media: MediaSettings,
    /// How often the store is asked what changed, in case the bus lost it.
    pub sweep: Duration,
    /// How often it is looked what is due: messages that wait for their time, or end.
    pub due: Duration,
    /// How often it is looked whether the lists changed that every node keeps in memory: sensitive
    /// words, and who is banned or muted. They are told of a change at once; this is for when the
    /// bus loses that.
    pub lists: Duration,
    /// How many group-commit lanes: one per independent writer of the store.
    pub lanes: usize,
    /// The most commits in one batch.
    pub batch_max: usize,
    /// The most commits waiting in a lane; beyond it senders are told `busy`.
    pub lane_max: usize,
    /// `[min, max]` of the random wait that clients are told when the node goes, in milliseconds.
    pub reconnect_ms: (u64, u64),
}

impl Default for Settings {
    fn default() -> Self {
        let Ok(node) = NodeId::new("node-1") else {
            unreachable!("a short text without control characters is an id")
        };
        Self {
            node,
            limits: Limits::default(),
            hello: Duration::from_secs(5),
            heartbeat: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            commit_deadline: Duration::from_secs(5),
            hook_deadline: Duration::from_secs(2),
            write_to: WriteTo::Anyone,
            friend_request: Duration::from_secs(7 * 24 * 3_600),
            join_request: Duration::from_secs(7 * 24 * 3_600),
            group_members_max: 100_000,
            channel_members_max: 10_000_000,
            changes: ChangeWindows::default(),
            rates: Rates::default(),
            push_key: None,
            retention: Retention::default(),
            media: MediaSettings::default(),
            sweep: Duration::from_secs(3),
            due: Duration::from_secs(1),
            lists: LISTS_EVERY,
            lanes: 1,
            batch_max: 4_096,
            lane_max: 16_384,
            reconnect_ms: (200, 5_000),
        }
    }
}

/// What is wrong with settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct SettingsError {
    /// Which setting.
    pub field: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl Settings {
    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// Names the first setting that does not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let error = |field, what: &str| {
            Err(SettingsError {
                field,
                what: what.to_owned(),
            })
        };
        let limits = &self.limits;
        if limits.text_chars == 0 {
            return error("text_chars", "must be at least 1");
        }
        // Four bytes are the most that a character takes in UTF-8; the rest is for the frame.
        if limits.frame_bytes < 4 * limits.text_chars + 1_024 {
            return error("frame_bytes", "must be at least 4 × text_chars + 1024");
        }
        if limits.page_bytes < limits.frame_bytes {
            return error("page_bytes", "must be at least frame_bytes");
        }
        if !(1..=65_536).contains(&limits.window) {
            return error("window", "must be from 1 to 65536");
        }
        if limits.sends_per_s == 0 {
            return error("sends_per_s", "must be at least 1");
        }
        if limits.ack_ms < 1_000 {
            return error("ack_ms", "must be at least 1000");
        }
        if limits.dedupe_ms < 60_000 {
            return error("dedupe_ms", "must be at least a minute");
        }
        if self.hello.is_zero() || self.heartbeat < Duration::from_millis(100) {
            return error(
                "heartbeat_ms",
                "must be at least 100, and hello_ms at least 1",
            );
        }
        if self.friend_request.is_zero() {
            return error("friend_request_ms", "must be at least 1");
        }
        if self.lanes == 0 || self.batch_max == 0 || self.lane_max < self.batch_max {
            return error("lanes", "lanes and batches need room");
        }
        if self.media.bytes_max > (PARTS_MAX * PART_BYTES / 2) as u64 {
            return error("media_bytes", "must be at most 2097152000");
        }
        if self.group_members_max < 2 || self.channel_members_max < 2 {
            return error("group_members_max", "groups and channels need room for two");
        }
        if self.reconnect_ms.0 > self.reconnect_ms.1 {
            return error("reconnect_ms", "must be [min, max]");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_may_be_sent_fits_its_frame() {
        let mut settings = Settings::default();
        assert_eq!(settings.check(), Ok(()));
        settings.limits.frame_bytes = 4 * settings.limits.text_chars + 1_023;
        assert_eq!(settings.check().unwrap_err().field, "frame_bytes");
    }
}
