//! How a chat wants to be told: devices that it does not want to hear of, when alerts make no sound, in which time zone.

use domain::Mac;
use runtime::zoned::{ZoneName, for_people};
use state::chats::{self, Chat};
use state::names::{self, Names, View};
use telegram::{Text, limit};

use crate::asking::Asking;
use crate::devices;
use crate::error::Error;
use crate::reply::{self, Reply};
use crate::watch_command::around_dash;
use crate::watching::{button, keyboard};

/// The most buttons below a list.
const MAX_BUTTONS: usize = 40;
/// The verb of the buttons below devices that may be meant.
pub(crate) const IGNORE: &str = "ignoremac";
/// The verb of the buttons below the list.
pub(crate) const UNIGNORE: &str = "unignore";
const DAY_MINUTES: u16 = 24 * 60;

/// `/ignore MAC`, `/ignore NAME`
pub(crate) async fn ignore(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    match devices::the_one(asked, IGNORE, asking).await? {
        Ok(mac) => ignore_this(mac, asking).await,
        Err(which) => Ok(which),
    }
}

/// Ignores a device, and says so.
pub(crate) async fn ignore_this(mac: Mac, asking: &Asking<'_>) -> Result<Reply, Error> {
    if !add_ignored(asking, mac).await? {
        return Ok(too_many());
    }
    let text = Text::new().plain("🙈 No alerts about ").append(devices::called(mac, asking).await?);
    let random = " It is a random address, which its device may give up soon.";
    let random = if mac.is_locally_administered() { random } else { "" };
    Ok(text.plain(" any more.").plain(random).into())
}

/// Ignores a device. `false` when the chat ignores as many as it can.
pub(crate) async fn add_ignored(asking: &Asking<'_>, mac: Mac) -> Result<bool, Error> {
    let chat = chats::change(asking.table(), asking.chat.id, |chat| {
        if chat.ignored.len() < Chat::MAX_IGNORED {
            chat.ignored.insert(mac);
        }
    })
    .await?;
    Ok(chat.is_some_and(|chat| chat.ignored.contains(&mac)))
}

pub(crate) fn too_many() -> Reply {
    format!("🛎 A chat ignores at most {} devices: /unignore one first.", Chat::MAX_IGNORED).into()
}

/// `/unignore MAC`, `/unignore NAME`
pub(crate) async fn unignore(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    match devices::the_one(asked, UNIGNORE, asking).await? {
        Ok(mac) => {
            remove_ignored(asking, mac).await?;
            let text = Text::new().plain("🐵 Alerts about ");
            Ok(text.append(devices::called(mac, asking).await?).plain(" again.").into())
        }
        Err(which) => Ok(which),
    }
}

/// Hears of a device again. The chat as it is then.
pub(crate) async fn remove_ignored(asking: &Asking<'_>, mac: Mac) -> Result<Option<Chat>, Error> {
    let chat = chats::change(asking.table(), asking.chat.id, |chat| {
        chat.ignored.remove(&mac);
    });
    Ok(chat.await?)
}

/// `/ignored`
pub(crate) async fn ignored(chat: &Chat, asking: &Asking<'_>) -> Result<Reply, Error> {
    if chat.ignored.is_empty() {
        return Ok("🙈 No device is ignored.".into());
    }
    let shown = chat.ignored.iter().take(reply::MAX_MARKED_LINES).copied();
    let names = names::of(asking.table(), shown, View::Chat(chat.id)).await?;
    let name = |mac: &Mac| names.get(mac).and_then(Names::best);
    let about = |mac: &Mac| name(mac).map_or_else(|| mac.to_string(), reply::device_name);
    let buttons = chat.ignored.iter().take(MAX_BUTTONS);
    let buttons = buttons.map(|mac| button("✖", &about(mac), format!("{UNIGNORE}:{mac}"))).collect();
    let tail = if chat.ignored.len() > MAX_BUTTONS { "\nThe others by /unignore MAC" } else { "" };
    let head = format!("🙈 No alerts about {}:", reply::count(chat.ignored.len(), "device"));
    let lines = chat.ignored.iter().map(|mac| reply::called(*mac, name(mac))).collect();
    let text = reply::list(head.into(), lines, limit::units(tail)).plain(tail);
    Ok(Reply::with_keyboard(text, keyboard(buttons)))
}

/// `/quiet 22:00-07:00`, `/quiet off`
pub(crate) async fn quiet(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let quiet = match (asked.to_lowercase().as_str(), hours(asked)) {
        ("off", _) => None,
        (_, Some(quiet)) => Some(quiet),
        _ => {
            let now = match asking.chat.quiet {
                Some(quiet) => format!("🔕 Alerts make no sound from {}.", in_words(quiet, asking)),
                None => "🔔 There are no quiet hours.".to_owned(),
            };
            let text = Text::new().plain(now).plain(" Set them with ").code("/quiet 22:00-07:00");
            return Ok(text.plain(" or ").code("/quiet off").into());
        }
    };
    chats::change(asking.table(), asking.chat.id, |chat| chat.quiet = quiet).await?;
    Ok(match quiet {
        Some(quiet) => format!("🔕 Alerts make no sound from {}.", in_words(quiet, asking)),
        None => "🔔 There are no quiet hours any more.".to_owned(),
    }
    .into())
}

/// `/health on|off`: whether this chat, one of an owner, is told when a sensor, or the way from it, is in trouble.
pub(crate) async fn health(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let off = match asked.to_lowercase().as_str() {
        "on" => false,
        "off" => true,
        _ => {
            let is = if asking.chat.health_off { "not told" } else { "told" };
            let text = Text::new()
                .plain(format!("🩺 This chat is {is} when a sensor, or the way from it, is in trouble: "));
            return Ok(text.code("/health on").plain(" or ").code("/health off").into());
        }
    };
    chats::change(asking.table(), asking.chat.id, |chat| chat.health_off = off).await?;
    Ok(if off {
        "🩺 This chat is not told any more when a sensor is in trouble. /status says how all are."
    } else {
        "🩺 This chat is told when a sensor, or the way from it, is in trouble, and when it is well again."
    }
    .into())
}

fn in_words((from, to): (u16, u16), asking: &Asking<'_>) -> String {
    let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let zone = asking.zone.iana_name().unwrap_or("UTC");
    format!("{} to {} ({zone})", time(from), time(to))
}

/// Two times of the day with a dash between them, in minutes: `22:00-07:00`, `22-7`. Not the same twice.
fn hours(text: &str) -> Option<(u16, u16)> {
    let (from, to) = around_dash(text)?;
    let (from, to) = (minutes(from)?, minutes(to)?);
    (from != to).then_some((from, to))
}

fn minutes(text: &str) -> Option<u16> {
    let number = |digits: &str| {
        let is_number = (1..=2).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
        if is_number { digits.parse::<u16>().ok() } else { None }
    };
    let (hour, minute) = text.split_once([':', '.']).unwrap_or((text, "0"));
    let (hour, minute) = (number(hour)?, number(minute)?);
    match (hour, minute) {
        (24, 0) => Some(0),
        (0..24, 0..60) => Some((hour * 60 + minute) % DAY_MINUTES),
        _ => None,
    }
}

/// `/timezone Europe/London`
pub(crate) async fn time_zone(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let example =
        |text: String| Text::new().plain(text).plain(" Set it with ").code("/timezone Europe/London").into();
    let told = |zone: &jiff::tz::TimeZone| {
        let name = zone.iana_name().unwrap_or("UTC");
        format!("🕰 Times are told in {name}: it is {}.", for_people(asking.now_ms, zone))
    };
    if asked.is_empty() {
        return Ok(example(told(&asking.zone)));
    }
    let zone = match asked.parse::<ZoneName>() {
        Ok(ZoneName(zone)) => zone,
        Err(_no_zone) => {
            let text = Text::new().plain("🛎 There is no time zone ").code(reply::echo(asked)).plain(".");
            return Ok(text
                .plain(" They are called by a city, such as ")
                .code("/timezone Europe/London")
                .into());
        }
    };
    let name = zone.iana_name().unwrap_or("UTC").to_owned();
    chats::change(asking.table(), asking.chat.id, |chat| chat.time_zone = Some(name.clone())).await?;
    Ok(told(&zone).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_are_two_times_with_any_dash() {
        for (text, expected) in [
            ("22:00-07:00", Some((1_320, 420))),
            ("22:30 – 7", Some((1_350, 420))),
            ("0—24", None),
            ("9.15-24:00", Some((555, 0))),
            ("22:00-22:00", None),
            ("25-7", None),
            ("22:60-7", None),
            ("22:00", None),
            ("+2-7", None),
            ("-", None),
            ("é-7", None),
            ("", None),
        ] {
            assert_eq!(hours(text), expected, "{text}");
        }
    }
}
