//! Who asks: a chat, what it may do, and how it wants to be told.

use jiff::tz::TimeZone;
use runtime::zoned::{ZoneName, for_people, time_of_day};
use state::Table;
use state::chats::{self, Chat, Role};

use crate::context::Context;
use crate::error::Error;

/// A chat that asks. Everyone who is in it acts with its role.
pub(crate) struct Asking<'a> {
    pub(crate) context: &'a Context,
    pub(crate) chat: Chat,
    /// Whether it is with one person alone.
    pub(crate) is_private: bool,
    /// In which it is told times.
    pub(crate) zone: TimeZone,
    /// The present in milliseconds since 1970.
    pub(crate) now_ms: i64,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(context: &'a Context, chat: Chat, is_private: bool) -> Self {
        let own = chat.time_zone.as_deref().and_then(|name| name.parse::<ZoneName>().ok());
        let zone = own.map_or_else(|| context.time_zone.clone(), |zone| zone.0);
        Self { context, chat, is_private, zone, now_ms: (context.now_ms)() }
    }

    /// The same chat as it is by now, after a change.
    pub(crate) async fn again(&self) -> Result<Asking<'a>, Error> {
        let chat = chats::find(self.table(), self.chat.id).await?;
        Ok(Self { zone: self.zone.clone(), chat: chat.unwrap_or_else(|| self.chat.clone()), ..*self })
    }

    pub(crate) fn table(&self) -> &'a Table {
        &self.context.table
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.chat.role == Role::Owner
    }

    /// A moment as it is told to this chat: `19:21` today, with its day and zone otherwise.
    pub(crate) fn moment(&self, time_ms: i64) -> String {
        let day = |time| for_people(time, &self.zone).chars().take("2020-04-22".len()).collect::<String>();
        if day(time_ms) == day(self.now_ms) {
            time_of_day(time_ms, &self.zone)
        } else {
            for_people(time_ms, &self.zone)
        }
    }
}
