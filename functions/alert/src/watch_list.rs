//! The watch list as it is when a batch is delivered: which chat is told of which SSID, and by which of its watches.

use domain::{Mac, Origin, Ssid, Watch};
use rustc_hash::FxHashMap;
use state::chats::{self, Chat};
use state::hooks::{self, Hook};
use state::messages::Destination;
use state::{Table, watches};

/// Chats, their watches and their webhooks.
#[derive(Debug)]
pub(crate) struct WatchList {
    chats: Vec<Chat>,
    watches: Vec<Watch>,
    hooks: Vec<Hook>,
    /// By SSID: the chats it concerns, and their watches, the most exact first.
    known: FxHashMap<Ssid, Vec<(usize, Vec<usize>)>>,
}

/// A watch of a chat, by its places in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Match {
    chat: usize,
    watch: usize,
}

impl WatchList {
    /// As of now, and never from a cache: a watch must not miss what comes right after it was made.
    pub(crate) async fn load(table: &Table) -> Result<Self, state::Error> {
        let (mut chats, watches, hooks) =
            futures::try_join!(chats::all(table), watches::all(table), hooks::all(table))?;
        // one that cannot be reached may have webhooks that can
        let has_hook = |chat: &Chat| hooks.iter().any(|hook| hook.chat == chat.id && hook.stopped.is_none());
        chats.retain(|chat| chat.moved_to.is_none() && (chat.is_reached() || has_hook(chat)));
        Ok(Self { chats, watches, hooks, known: FxHashMap::default() })
    }

    /// The watches that a record answers to, one a chat. `timestamp` is the record's Kafka timestamp: neither a watch nor a chat is
    /// told of what came into the log before it was made.
    pub(crate) fn matches(&mut self, ssid: &Ssid, timestamp: i64) -> Vec<Match> {
        if !self.known.contains_key(ssid) {
            let found = self.find(ssid);
            self.known.insert(ssid.clone(), found);
        }
        let of_ssid = self.known.get(ssid).into_iter().flatten();
        of_ssid
            .filter_map(|(chat, watches)| {
                let since_ms = self.chats.get(*chat)?.since_ms;
                let is_made =
                    |watch: &&usize| self.watch_at(**watch).is_some_and(|watch| watch.made_ms <= timestamp);
                let watch = watches.iter().find(is_made)?;
                (since_ms <= timestamp).then_some(Match { chat: *chat, watch: *watch })
            })
            .collect()
    }

    fn find(&self, ssid: &Ssid) -> Vec<(usize, Vec<usize>)> {
        let matching: Vec<(usize, &Watch)> =
            self.watches.iter().enumerate().filter(|(_, watch)| watch.pattern.matches(ssid)).collect();
        let mut found = Vec::new();
        for (place, chat) in self.chats.iter().enumerate() {
            let mut wanted: Vec<(usize, &Watch)> =
                matching.iter().filter(|(_, watch)| chat.wants(watch)).copied().collect();
            wanted.sort_by_key(|(_, watch)| watch.rank());
            if !wanted.is_empty() {
                found.push((place, wanted.into_iter().map(|(watch, _)| watch).collect()));
            }
        }
        found
    }

    /// Whether the chat does not want to hear of this just now.
    pub(crate) fn is_unwanted(&self, of: Match, mac: Mac, now_ms: i64) -> bool {
        let Some((chat, watch)) = self.chat_and_watch(of) else { return true };
        chat.ignored.contains(&mac) || chat.is_muted(watch.id(), now_ms)
    }

    /// A chat and its watch.
    pub(crate) fn chat_and_watch(&self, of: Match) -> Option<(&Chat, &Watch)> {
        Some((self.chats.get(of.chat)?, self.watch_at(of.watch)?))
    }

    fn watch_at(&self, place: usize) -> Option<&Watch> {
        self.watches.get(place)
    }

    /// Who is told: the chat, and the webhooks of all its alerts or of this watch.
    pub(crate) fn destinations(&self, of: Match) -> Vec<Destination> {
        let Some((chat, watch)) = self.chat_and_watch(of) else { return Vec::new() };
        let hooks = self.hooks.iter().filter(|hook| {
            let is_of_chat = hook.chat == chat.id && hook.stopped.is_none();
            is_of_chat && hook.watch.is_none_or(|only| only == watch.id())
        });
        let hooks = hooks.map(|hook| Destination::Hook(hook.id.clone()));
        let chat = chat.is_reached().then_some(Destination::Chat(chat.id));
        chat.into_iter().chain(hooks).collect()
    }

    /// Whether nobody watches anything.
    pub(crate) fn is_empty(&self) -> bool {
        let has_watch = |chat: &Chat| self.watches.iter().any(|watch| chat.wants(watch));
        !self.chats.iter().any(has_watch)
    }

    /// How many watches there are from the topic, and from chats.
    pub(crate) fn count(&self) -> (usize, usize) {
        let of_topic = self.watches.iter().filter(|watch| watch.origin == Origin::Topic).count();
        (of_topic, self.watches.len() - of_topic)
    }
}
