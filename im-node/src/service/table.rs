//! The one table of methods: `req` frames and HTTP routes are both made from it.

use std::future::Future;
use std::pin::Pin;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::Value;
use im_core::port::RecordKey;

use super::params::Params;
use super::{
    Caller, admin, announcements, bans, blocks, channels, configure, erasure, export, forward,
    friends, groups, invites, joining, media, members, messages, notify, own, privacy, profile,
    push, reports, requests, schedule, search, state, stickers, watch,
};
use crate::appender::port_failure;
use crate::moderation::banned;
use crate::node::Inner;

/// How long an answer is kept under its key: 24 hours.
pub(super) const KEY_MS: u64 = 24 * 3_600 * 1_000;

/// An HTTP verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Makes or does.
    Post,
    /// Sets.
    Put,
    /// Takes away.
    Delete,
}

/// An HTTP route of a method. Path parameters, the query and the JSON body together are the
/// method's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The verb.
    pub verb: Verb,
    /// The path below the mount, with `{name}` for path parameters.
    pub path: &'static str,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

/// A method.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Its name in `req` frames.
    pub name: &'static str,
    /// Its HTTP route; none when it makes sense on a connection only.
    pub route: Option<Route>,
    act: for<'a> fn(Call<'a>, Params) -> Answer<'a>,
}

impl Method {
    /// The verb of its route.
    #[must_use]
    pub const fn verb(&self) -> Option<Verb> {
        match self.route {
            Some(route) => Some(route.verb),
            None => None,
        }
    }
}

/// A call under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) inner: &'a std::sync::Arc<Inner>,
    pub(crate) caller: &'a Caller,
    key: Option<&'a str>,
}

impl Call<'_> {
    /// The same call, which keeps no answer.
    pub(super) const fn without_key(self) -> Self {
        Self { key: None, ..self }
    }

    pub(super) fn record_key(&self) -> Option<RecordKey> {
        let user = self.caller.user.clone();
        self.key.map(|key| RecordKey::Answer {
            user,
            key: key.to_owned(),
        })
    }
}

macro_rules! methods {
    ($($name:literal => $act:path $(, $verb:ident $path:literal)?;)*) => {
        /// Every method.
        pub static METHODS: &[Method] = &[$(Method {
            name: $name,
            route: methods!(@route $($verb $path)?),
            act: |call, params| Box::pin($act(call, params)),
        },)*];
    };
    (@route) => { None };
    (@route $verb:ident $path:literal) => { Some(Route { verb: Verb::$verb, path: $path }) };
}

methods! {
    "admin.groups.close" => admin::close, Post "/v1/admin/groups/{conv}/close";
    "admin.groups.get" => admin::group, Get "/v1/admin/groups/{conv}";
    "admin.groups.list" => admin::groups, Get "/v1/admin/groups";
    "admin.groups.members" => admin::members, Get "/v1/admin/groups/{conv}/members";
    "admin.groups.mute" => admin::mute_member, Put "/v1/admin/groups/{conv}/mute";
    "admin.groups.remove" => admin::remove, Delete "/v1/admin/groups/{conv}/members";
    "admin.keys.add" => admin::add_key, Post "/v1/admin/keys";
    "admin.keys.list" => admin::keys, Get "/v1/admin/keys";
    "admin.keys.revoke" => admin::revoke_key, Delete "/v1/admin/keys/{id}";
    "admin.messages.export" => admin::export, Post "/v1/admin/messages/{conv}/export";
    "admin.messages.list" => admin::messages, Get "/v1/admin/messages/{conv}";
    "admin.messages.recall" => admin::recall, Post "/v1/admin/messages/{conv}/recall";
    "admin.messages.unmask" => admin::unmask, Post "/v1/admin/messages/{conv}/unmask";
    "admin.packs.remove" => admin::remove_pack, Delete "/v1/admin/packs/{pack}";
    "admin.packs.set" => admin::set_pack, Put "/v1/admin/packs/{pack}";
    "admin.reports.list" => admin::reports, Get "/v1/admin/reports";
    "admin.reports.resolve" => admin::resolve, Post "/v1/admin/reports/{id}";
    "admin.review.decide" => admin::decide, Post "/v1/admin/review/{id}";
    "admin.review.list" => admin::review, Get "/v1/admin/review";
    "admin.stats" => admin::statistics, Get "/v1/admin/stats";
    "admin.users.ban" => admin::ban, Put "/v1/admin/users/{user}/ban";
    "admin.users.banned" => admin::banned, Get "/v1/admin/users";
    "admin.users.get" => admin::user, Get "/v1/admin/users/{user}";
    "admin.users.kick" => admin::kick, Post "/v1/admin/users/{user}/kick";
    "admin.users.mute" => admin::mute, Put "/v1/admin/users/{user}/mute";
    "admin.users.unban" => admin::unban, Delete "/v1/admin/users/{user}/ban";
    "admin.words.add" => admin::add_words, Put "/v1/admin/words";
    "admin.words.export" => admin::export_words, Get "/v1/admin/words/export";
    "admin.words.import" => admin::import_words, Post "/v1/admin/words/import";
    "admin.words.list" => admin::words, Get "/v1/admin/words";
    "admin.words.remove" => admin::remove_words, Delete "/v1/admin/words";
    "admin.words.try" => admin::try_words, Post "/v1/admin/words/try";
    "audit.list" => admin::audit_list, Get "/v1/admin/audit";
    "announcements.add" => announcements::add, Post "/v1/groups/{conv}/announcements";
    "announcements.confirm" => announcements::confirm,
        Put "/v1/groups/{conv}/announcements/{id}/confirmed";
    "announcements.list" => announcements::list, Get "/v1/groups/{conv}/announcements";
    "announcements.readers" => announcements::readers,
        Get "/v1/groups/{conv}/announcements/{id}/readers";
    "announcements.remove" => announcements::end, Delete "/v1/groups/{conv}/announcements/{id}";
    "blocks.add" => blocks::add, Post "/v1/blocks";
    "blocks.remove" => blocks::remove, Delete "/v1/blocks";
    "channels.create" => channels::create, Post "/v1/channels";
    "channels.find" => channels::find, Get "/v1/channels";
    "conv.get" => members::get, Get "/v1/conversations/{conv}";
    "conv.pins" => state::pins, Get "/v1/conversations/{conv}/pins";
    "conv.states" => state::states, Get "/v1/conversations/{conv}/states";
    "conv.list" => messages::list, Get "/v1/sync";
    "conv.entries" => messages::entries, Get "/v1/conversations/{conv}/entries";
    "drafts.list" => own::drafts, Get "/v1/drafts";
    "drafts.set" => own::set_draft, Put "/v1/drafts/{conv}";
    "emoji.find" => stickers::find, Get "/v1/emoji";
    "friends.accept" => friends::accept, Post "/v1/friends/{user}/accept";
    "friends.ask" => friends::ask, Post "/v1/friends";
    "friends.asked" => friends::asked, Get "/v1/friends/asked";
    "friends.list" => friends::list, Get "/v1/friends";
    "friends.refuse" => friends::refuse, Post "/v1/friends/{user}/refuse";
    "friends.remove" => friends::unfriend, Delete "/v1/friends/{user}";
    "friends.requests" => friends::requests, Get "/v1/friends/requests";
    "friends.set" => friends::set, Put "/v1/friends/{user}";
    "groups.accept" => requests::accept, Post "/v1/groups/{conv}/requests/{user}/accept";
    "groups.add" => groups::add, Post "/v1/groups/{conv}/members";
    "groups.ask" => requests::ask, Post "/v1/groups/{conv}/requests";
    "groups.ban" => bans::ban, Post "/v1/groups/{conv}/bans";
    "groups.bans" => bans::bans, Get "/v1/groups/{conv}/bans";
    "groups.create" => groups::create, Post "/v1/groups";
    "groups.disband" => groups::disband, Delete "/v1/groups/{conv}";
    "groups.join" => joining::join, Post "/v1/groups/{conv}/join";
    "groups.leave" => groups::leave, Post "/v1/groups/{conv}/leave";
    "groups.set" => configure::set, Put "/v1/groups/{conv}";
    "groups.members" => members::members, Get "/v1/groups/{conv}/members";
    "groups.mute" => groups::mute, Put "/v1/groups/{conv}/mute";
    "groups.nick" => members::nick, Put "/v1/groups/{conv}/nick";
    "groups.refuse" => requests::refuse, Post "/v1/groups/{conv}/requests/{user}/refuse";
    "groups.requests" => requests::requests, Get "/v1/groups/{conv}/requests";
    "groups.unask" => requests::unask, Delete "/v1/groups/{conv}/requests";
    "groups.unban" => bans::unban, Delete "/v1/groups/{conv}/bans";
    "groups.remove" => groups::remove, Delete "/v1/groups/{conv}/members";
    "groups.role" => groups::role, Put "/v1/groups/{conv}/role";
    "me.erase" => erasure::erase, Post "/v1/me/erase";
    "me.export" => export::export, Get "/v1/me/export";
    "media.create" => media::create, Post "/v1/media";
    "media.finish" => media::finish, Post "/v1/media/{blob}/finish";
    "media.get" => media::get, Get "/v1/media/{blob}";
    "media.link" => media::link, Get "/v1/media/{blob}/link";
    "media.list" => media::list, Get "/v1/media";
    "media.remove" => media::remove, Delete "/v1/media/{blob}";
    "media.usage" => media::usage, Get "/v1/media/usage";
    "invites.create" => invites::create, Post "/v1/groups/{conv}/invites";
    "invites.get" => invites::get, Get "/v1/invites/{token}";
    "invites.join" => invites::join, Post "/v1/invites/{token}/join";
    "invites.list" => invites::list, Get "/v1/groups/{conv}/invites";
    "invites.revoke" => invites::revoke, Delete "/v1/invites/{token}";
    "messages.forward" => forward::forward, Post "/v1/messages/forward";
    "messages.hidden" => own::hidden, Get "/v1/conversations/{conv}/hidden";
    "messages.hide" => own::hide, Put "/v1/conversations/{conv}/hidden";
    "messages.readers" => state::readers, Get "/v1/conversations/{conv}/entries/{seq}/readers";
    "messages.schedule" => schedule::schedule, Post "/v1/messages/scheduled";
    "messages.scheduled" => schedule::scheduled, Get "/v1/messages/scheduled";
    "messages.unschedule" => schedule::unschedule, Delete "/v1/messages/scheduled/{cm_id}";
    "messages.search" => search::search, Get "/v1/search";
    "messages.send" => messages::send, Post "/v1/messages";
    "packs.collect" => stickers::collect, Put "/v1/packs/{pack}/collected";
    "packs.collected" => stickers::collected, Get "/v1/packs/collected";
    "packs.get" => stickers::get, Get "/v1/packs/{pack}";
    "packs.list" => stickers::list, Get "/v1/packs";
    "notify.list" => notify::list, Get "/v1/notify";
    "notify.set" => notify::set_notify, Put "/v1/conversations/{conv}/notify";
    "privacy.get" => privacy::get, Get "/v1/privacy";
    "privacy.set" => privacy::put, Put "/v1/privacy";
    "profile.get" => profile::get, Post "/v1/profiles";
    "profile.set" => profile::put, Put "/v1/profile";
    "stickers.keep" => stickers::keep, Put "/v1/stickers/kept";
    "stickers.kept" => stickers::kept, Get "/v1/stickers/kept";
    "presence.watch" => watch::watch;
    "push.key" => push::key, Get "/v1/push/key";
    "push.list" => push::list, Get "/v1/push";
    "push.mute" => push::mute, Put "/v1/push/mutes";
    "push.mutes" => push::mutes, Get "/v1/push/mutes";
    "push.subscribe" => push::subscribe, Post "/v1/push";
    "push.unsubscribe" => push::unsubscribe, Delete "/v1/push";
    "reports.add" => reports::add, Post "/v1/reports";
}

impl Inner {
    /// Calls a method; one that has no row is refused.
    pub(crate) async fn call(
        self: &std::sync::Arc<Self>,
        caller: &Caller,
        method: &str,
        params: Value,
        key: Option<String>,
    ) -> Result<Value, Failure> {
        // Whose connections are about to end: what they still send is not done.
        let now = self.clock.timestamp();
        if self.moderation.standings().is_banned(&caller.user, now) {
            return Err(banned());
        }
        let Some(method) = METHODS.iter().find(|known| known.name == method) else {
            return Err(Failure::new(ErrorCode::Unsupported, "no such method"));
        };
        let call = Call {
            inner: self,
            caller,
            key: key.as_deref(),
        };
        if let Some(key) = call.record_key() {
            let done = self
                .store
                .record(&key, now)
                .await
                .map_err(|error| port_failure(&error))?;
            if let Some(value) = done {
                return Ok(Value::from_json(&value).unwrap_or(Value::Null));
            }
        }
        (method.act)(call, Params::new(params)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_page_has_every_method_with_its_route() {
        let page = include_str!("../../../docs/protocol.md");
        for method in METHODS {
            let route = method.route.map_or_else(
                || "none".to_owned(),
                |route| {
                    format!(
                        "`{} {}`",
                        format!("{:?}", route.verb).to_uppercase(),
                        route.path
                    )
                },
            );
            let row = format!("| `{}` | {route}", method.name);
            assert!(page.contains(&row), "{row}");
        }
    }
}
