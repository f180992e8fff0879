//! The watch list from the chat: what it has made itself, and what topic `ssid_alert_list` says for all.

use domain::{Origin, Pattern, Watch, WatchId};
use state::chats::{self, Chat};
use state::watches as list;
use telegram::{Button, Keyboard, Text, limit};

use crate::asking::Asking;
use crate::dry_run;
use crate::error::Error;
use crate::reply::{self, Reply};
use crate::watch_command::{self, NotRead};

/// The most watches that a chat makes: all of them are read for every batch of records.
const MAX_WATCHES: usize = 200;
/// The most buttons below a list: Telegram takes 100.
const MAX_BUTTONS: usize = 40;
/// How long nothing is told of a watch, unless somebody says: as long as the button has it.
pub(crate) const MUTE_MS: i64 = 60 * 60 * 1000;

/// The verb of the buttons below the list.
pub(crate) const UNWATCH: &str = "unwatch-w";

/// What is watched for a chat: its own, and those of the topic, switched off or not.
pub(crate) async fn of_chat(asking: &Asking<'_>) -> Result<Vec<Watch>, Error> {
    let mut watches = list::all(asking.table()).await?;
    watches.retain(|watch| match watch.origin {
        Origin::Chat(chat) => chat == asking.chat.id,
        Origin::Topic => true,
    });
    Ok(watches)
}

/// `/watch [-i] [-c 30m] NAME [reason…]`
pub(crate) async fn watch(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let wanted = match watch_command::read(asked) {
        Ok(wanted) => wanted,
        Err(why) => return Ok(not_read(&why)),
    };
    let watches = of_chat(asking).await?;
    let of_topic =
        watches.iter().find(|watch| watch.origin == Origin::Topic && watch.pattern == wanted.pattern);
    if let (Some(shared), None, None) = (of_topic, &wanted.reason, wanted.cooldown_ms)
        && !asking.chat.shared_off
        && asking.chat.off.contains(&shared.id())
    {
        let id = shared.id();
        chats::change(asking.table(), asking.chat.id, |chat| {
            chat.off.remove(&id);
        })
        .await?;
        return confirmed(asking, shared, "👁 Watching again, from topic ssid_alert_list: ").await;
    }
    let own = |watch: &&Watch| matches!(watch.origin, Origin::Chat(_));
    let is_new = !watches.iter().filter(own).any(|watch| watch.pattern == wanted.pattern);
    if is_new && watches.iter().filter(own).count() >= MAX_WATCHES {
        return Ok(format!("🛎 A chat has at most {MAX_WATCHES} watches: /unwatch one first.").into());
    }
    let watch = Watch {
        origin: Origin::Chat(asking.chat.id),
        pattern: wanted.pattern,
        reason: wanted.reason,
        made_ms: asking.now_ms,
        cooldown_ms: wanted.cooldown_ms.unwrap_or(Watch::COOLDOWN_MS),
    };
    list::set(asking.table(), asking.chat.id, &watch).await?;
    confirmed(asking, &watch, "👁 Watching ").await
}

async fn confirmed(asking: &Asking<'_>, watch: &Watch, how: &str) -> Result<Reply, Error> {
    let mut text = Text::new().plain(how).code(reply::name(&watch.pattern));
    if let Some(reason) = &watch.reason {
        text = text.plain(format!(": {}", limit::line(reason, domain::watch::MAX_REASON_CHARS)));
    }
    text = text.plain(match watch.cooldown_ms {
        0 => "\nEvery probe request is told in a message of its own.".to_owned(),
        cooldown => format!(
            "\nA device that looks for it is told once, and again when it was silent for {}.",
            watch_command::span(cooldown)
        ),
    });
    // the watch is made: what it would have told is beside the point then
    Ok(match dry_run::tell(asking, &watch.pattern).await {
        Ok(told) => text.plain(format!("\n{told}")),
        Err(error) => {
            tracing::warn!(
                error = runtime::log::with_causes(&error),
                "what a watch would have told is not known"
            );
            text
        }
    }
    .into())
}

/// `/unwatch NAME`: the chat's own watch is gone, one of the topic is switched off.
pub(crate) async fn unwatch(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let found = match find(asked, &of_chat(asking).await?) {
        Ok(found) => found,
        Err(why) => return Ok(not_read(&why)),
    };
    let Some(first) = found.first() else { return Ok(reply::not_watched(asked).into()) };
    let name = reply::name(&first.pattern);
    let was_shared = found.iter().any(|watch| watch.origin == Origin::Topic);
    for watch in &found {
        end(asking, watch.origin, &watch.pattern).await?;
    }
    let text = Text::new().plain("👁 No longer watched: ").code(name.clone());
    Ok(if was_shared {
        text.plain("\nTopic ssid_alert_list has it, so it is switched off for this chat. Back with ")
            .code(format!("/watch {}", quoted(&name)))
            .into()
    } else {
        text.into()
    })
}

/// Ends a watch for this chat.
pub(crate) async fn end(asking: &Asking<'_>, origin: Origin, pattern: &Pattern) -> Result<(), Error> {
    match origin {
        Origin::Chat(_) => {
            list::remove(asking.table(), asking.chat.id, pattern).await?;
        }
        Origin::Topic => {
            let id = id(origin, pattern);
            chats::change(asking.table(), asking.chat.id, |chat| {
                chat.off.insert(id);
            })
            .await?;
        }
    }
    Ok(())
}

/// What a watch is called, from what makes it up.
pub(crate) fn id(origin: Origin, pattern: &Pattern) -> WatchId {
    Watch { origin, pattern: pattern.clone(), reason: None, made_ms: 0, cooldown_ms: 0 }.id()
}

/// `/watches`
pub(crate) async fn watches(asking: &Asking<'_>) -> Result<Reply, Error> {
    Ok(shown(&of_chat(asking).await?, asking))
}

/// The list, with a button each for those that are on.
pub(crate) fn shown(watches: &[Watch], asking: &Asking<'_>) -> Reply {
    if watches.is_empty() {
        return Text::new()
            .plain("👁 Nothing is watched. Tell me what to look for, for example ")
            .code("/watch RNM-GUEST guest network")
            .into();
    }
    let on: Vec<&Watch> = watches.iter().filter(|watch| asking.chat.wants(watch)).collect();
    let buttons: Vec<Button> = on
        .iter()
        .take(MAX_BUTTONS)
        .map(|watch| button("✖", &watch.pattern.to_string(), format!("{UNWATCH}:{}", watch.id())))
        .collect();
    let without = on.len().saturating_sub(MAX_BUTTONS);
    let last = match without {
        0 => String::new(),
        1 => "\nOne more has no button: /unwatch NAME".to_owned(),
        more => format!("\n{more} more have no button: /unwatch NAME"),
    };
    let lines = watches.iter().map(|watch| line(watch, asking)).collect();
    let head = Text::from(match watches.len() {
        1 => "👁 1 watch:".to_owned(),
        count => format!("👁 {count} watches:"),
    });
    let text = reply::list(head, lines, limit::units(&last)).plain(last);
    Reply::with_keyboard(text, keyboard(buttons))
}

/// A button that says what it is about.
pub(crate) fn button(sign: &str, about: &str, data: String) -> Button {
    Button::new(limit::cut(&format!("{sign} {about}"), 40), data)
}

/// Two buttons a row.
pub(crate) fn keyboard(buttons: Vec<Button>) -> Option<Keyboard> {
    let rows: Vec<Vec<Button>> = buttons.chunks(2).map(<[Button]>::to_vec).collect();
    (!rows.is_empty()).then(|| Keyboard::rows(rows))
}

fn line(watch: &Watch, asking: &Asking<'_>) -> Text {
    let Chat { shared_off, off, mutes, .. } = &asking.chat;
    let mut about = Vec::new();
    if watch.origin == Origin::Topic {
        about.push("from topic ssid_alert_list".to_owned());
        if *shared_off || off.contains(&watch.id()) {
            about.push("off".to_owned());
        }
    }
    match watch.cooldown_ms {
        Watch::COOLDOWN_MS => {}
        0 => about.push("every probe request".to_owned()),
        cooldown => about.push(format!("quiet time {}", watch_command::span(cooldown))),
    }
    if let Some(until) = mutes.get(&watch.id()).filter(|until| **until > asking.now_ms) {
        about.push(format!("muted until {}", asking.moment(*until)));
    }
    let mut text = Text::new().code(reply::name(&watch.pattern));
    if let Some(reason) = &watch.reason {
        text = text.plain(format!(" : {}", limit::line(reason, domain::watch::MAX_REASON_CHARS)));
    }
    if about.is_empty() { text } else { text.plain(format!(" ({})", about.join(", "))) }
}

/// `/shared on|off`: all watches of the topic.
pub(crate) async fn shared(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let off = match asked.to_lowercase().as_str() {
        "on" => false,
        "off" => true,
        _ => {
            let is = if asking.chat.shared_off { "off" } else { "on" };
            let text = Text::new()
                .plain(format!("👁 The shared watch list (topic ssid_alert_list) is {is} in this chat: "));
            return Ok(text.code("/shared on").plain(" or ").code("/shared off").into());
        }
    };
    chats::change(asking.table(), asking.chat.id, |chat| {
        chat.shared_off = off;
        if !off {
            chat.off.clear();
        }
    })
    .await?;
    Ok(if off {
        "👁 Nothing of the shared watch list (topic ssid_alert_list) is told in this chat."
    } else {
        "👁 All of the shared watch list (topic ssid_alert_list) is told in this chat."
    }
    .into())
}

/// `/mute NAME [1h]`
pub(crate) async fn mute(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let watches = of_chat(asking).await?;
    let whole = find(asked, &watches);
    // a name may end in what looks like a time: it is none if that name is watched
    let is_whole = whole.as_ref().is_ok_and(|found| !found.is_empty());
    let (name, span) = asked.rsplit_once(char::is_whitespace).unwrap_or_default();
    let (found, span_ms) = match watch_command::span_ms(span).filter(|span| *span > 0) {
        Some(span) if !is_whole => (find(name, &watches), span),
        _ => (whole, MUTE_MS),
    };
    let found = match found {
        Ok(found) => found,
        Err(why) => return Ok(not_read(&why)),
    };
    let Some(first) = found.first() else { return Ok(reply::not_watched(asked).into()) };
    let ids: Vec<WatchId> = found.iter().map(|watch| watch.id()).collect();
    let until = asking.now_ms.saturating_add(span_ms);
    silence(asking, &ids, until).await?;
    let until = asking.moment(until);
    Ok(Text::new()
        .plain("🔇 ")
        .code(reply::name(&first.pattern))
        .plain(format!(" is muted until {until}."))
        .into())
}

/// Tells nothing of watches until a time.
pub(crate) async fn silence(asking: &Asking<'_>, watches: &[WatchId], until_ms: i64) -> Result<(), Error> {
    chats::change(asking.table(), asking.chat.id, |chat| {
        chat.mutes.retain(|_, until| *until > asking.now_ms);
        chat.mutes.extend(watches.iter().map(|watch| (*watch, until_ms)));
    })
    .await?;
    Ok(())
}

/// `/unmute NAME`
pub(crate) async fn unmute(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let found = match find(asked, &of_chat(asking).await?) {
        Ok(found) => found,
        Err(why) => return Ok(not_read(&why)),
    };
    let Some(first) = found.first() else { return Ok(reply::not_watched(asked).into()) };
    let ids: Vec<WatchId> = found.iter().map(Watch::id).collect();
    chats::change(asking.table(), asking.chat.id, |chat| {
        chat.mutes.retain(|watch, until| *until > asking.now_ms && !ids.contains(watch));
    })
    .await?;
    Ok(Text::new().plain("🔔 ").code(reply::name(&first.pattern)).plain(" is told again.").into())
}

/// The watches of a name: of both origins, if both have it. One that is about any case is found by its name alone, if no other is.
pub(crate) fn find(asked: &str, watches: &[Watch]) -> Result<Vec<Watch>, NotRead> {
    let of = |is_it: &dyn Fn(&Watch) -> bool| -> Vec<Watch> {
        watches.iter().filter(|watch| is_it(watch)).cloned().collect()
    };
    // what a list shows is always good enough
    let shown = of(&|watch| watch.pattern.to_string() == asked.trim());
    if !shown.is_empty() {
        return Ok(shown);
    }
    let pattern = watch_command::read_name(asked)?;
    let exact = of(&|watch| watch.pattern == pattern);
    if !exact.is_empty() {
        return Ok(exact);
    }
    Ok(match watch_command::read_name(&format!("-i {asked}")) {
        Ok(in_any_case) => of(&|watch| watch.pattern == in_any_case),
        Err(_) => Vec::new(),
    })
}

/// The answer to what cannot be read.
pub(crate) fn not_read(why: &NotRead) -> Reply {
    Text::new()
        .plain(format!("🛎 That is no watch: {why}. For example: "))
        .code("/watch \"The Red Lion\" the pub")
        .into()
}

/// A name that is read back as one.
fn quoted(name: &str) -> String {
    if name.contains(' ') { format!("\"{name}\"") } else { name.to_owned() }
}
