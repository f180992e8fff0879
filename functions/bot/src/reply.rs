//! What people are told: the seed's texts, tabs and all.
//!
//! What a device or a stranger could have chosen stands in code marks: there it cannot become a link, a command or a mention.

use std::collections::BTreeMap;

use domain::tally::Tally;
use domain::{Mac, Pattern, vendor};
use jiff::tz::TimeZone;
use state::chats::Role;
use state::device::Device;
use state::names::Names;
use state::ssid::Page;
use telegram::message::WebhookReply;
use telegram::{Button, Keyboard, Message, Text, limit};

use runtime::zoned::for_people;

use crate::watching::keyboard;

/// The longest piece of what somebody wrote that is repeated to them.
const MAX_ECHO_UNITS: usize = 100;
/// The longest name of a network: an SSID of escapes has up to 1,020 characters.
const MAX_NAME_UNITS: usize = 256;
/// The longest name of a device.
const MAX_DEVICE_UNITS: usize = 100;
/// Lines of a list with a mark each: Telegram heeds 100 marks in a message. <https://core.telegram.org/api/entities>
pub(crate) const MAX_MARKED_LINES: usize = 95;

/// An answer: a text, and buttons below it.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) text: Text,
    pub(crate) keyboard: Option<Keyboard>,
}

impl Reply {
    pub(crate) fn with_keyboard(text: Text, keyboard: Option<Keyboard>) -> Self {
        Self { text, keyboard }
    }

    /// With these buttons below those that it has, two a row.
    pub(crate) fn with_more_buttons(self, buttons: Vec<Button>) -> Self {
        let keyboards = self.keyboard.into_iter().chain(keyboard(buttons));
        let rows: Vec<_> = keyboards.flat_map(|keyboard| keyboard.inline_keyboard).collect();
        Self { keyboard: (!rows.is_empty()).then(|| Keyboard::rows(rows)), ..self }
    }

    /// As a message to a chat.
    pub(crate) fn into_message(self, chat: i64) -> WebhookReply {
        let message = Message::new(chat, self.text);
        WebhookReply::SendMessage(match self.keyboard {
            Some(keyboard) => message.with_keyboard(keyboard),
            None => message,
        })
    }
}

/// A question that is answered by a reply to it.
pub(crate) struct Question {
    pub(crate) text: Text,
    /// What stands where one replies.
    pub(crate) placeholder: &'static str,
}

impl Question {
    /// As a message to a chat, or to one of those in it, in reply to a message.
    pub(crate) fn into_message(self, chat: i64, of: Option<i64>, to: Option<i64>) -> WebhookReply {
        let message = Message::new(chat, self.text);
        let message = match to {
            Some(to) => message.in_reply_to(to),
            None => message,
        };
        WebhookReply::SendMessage(match of {
            Some(user) => message.asking_one_for_reply(user, self.placeholder),
            None => message.asking_for_reply(self.placeholder),
        })
    }
}

impl From<Text> for Reply {
    fn from(text: Text) -> Self {
        Self { text, keyboard: None }
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Text::from(text).into()
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Text::from(text).into()
    }
}

/// The answer to a question about a device that is not known.
pub(crate) fn no_such_device(asked: &str) -> Text {
    Text::new().plain("🛎 No result found for device ").code(echo(asked))
}

/// The answer to what should be an address.
pub(crate) fn no_mac(asked: &str) -> Reply {
    Text::new()
        .plain("🛎 ")
        .code(echo(asked))
        .plain(" is no MAC address such as ")
        .code("a4:83:e7:4e:39:15")
        .into()
}

/// What was heard of a device: the seed's text, and below it what else one wants to know.
pub(crate) fn device(mac: Mac, names: &Names, device: &Device, zone: &TimeZone) -> Text {
    let about = match (names.best(), vendor::of(mac)) {
        (Some(_), _) => Text::new().plain("\n\tMAC address    : ").code(mac.to_string()),
        (None, _) if mac.is_locally_administered() => Text::new().plain("\n\tRandom address"),
        (None, Some(vendor)) => Text::new().plain("\n\tVendor         : ").code(vendor),
        (None, None) => Text::new(),
    };
    let name = names.best().map_or_else(|| mac.to_string(), device_name);
    stats(Text::new().code(name), device, about, zone)
}

/// What was heard of devices of one name, in sum and each for itself; and that so many more have it.
pub(crate) fn together(name: &str, parts: &[(Mac, Option<Device>)], more: usize, zone: &TimeZone) -> Text {
    let mut sum = Device::default();
    parts.iter().filter_map(|(_, device)| device.as_ref()).for_each(|device| sum.merge(device));
    let about = parts.iter().fold(Text::new(), |text, (mac, device)| {
        let text = text.plain("\n\t").code(mac.to_string());
        match device {
            Some(device) => text.plain(format!(" : {}", heard(&device.tally.all, zone))),
            None => text.plain(" : not heard yet"),
        }
    });
    let about = match more {
        0 => about,
        more => about.plain(format!("\n\tand {more} more, which are not in the sum")),
    };
    let whose = Text::new().code(device_name(name)).plain(format!(" ({})", count(parts.len(), "device")));
    if sum.tally.all.count == 0 {
        return Text::new().plain("📡 ").append(whose).plain(" : nothing was heard yet").append(about);
    }
    stats(whose, &sum, about, zone)
}

fn stats(whose: Text, device: &Device, about: Text, zone: &TimeZone) -> Text {
    let all = &device.tally.all;
    let head = Text::new().plain("📡 Wi-Fi probe stats for ").append(whose).plain(format!(
        "\n\tEarliest probe : {}\n\tLatest probe   : {}\n\tProbe count    : {}\n\tUnique SSIDs   : {}",
        for_people(all.first, zone),
        for_people(all.last, zone),
        all.count,
        device.ssids.len(),
    ));
    let tail = Text::new().plain(format!("\n\tAny network    : {}", device.tally.wildcard)).append(about);
    if device.ssids.is_empty() {
        return head.append(tail);
    }
    let names: Vec<String> = device.ssids.iter().map(|(ssid, _tally)| ssid.to_string()).collect();
    let room = limit::MAX_UNITS.saturating_sub(head.units() + tail.units() + " ()".len());
    head.plain(" (").code(limit::list(&names, ", ", room)).plain(")").append(tail)
}

/// A device that has a name, and of which nothing was heard.
pub(crate) fn not_heard(mac: Mac, name: &str) -> Text {
    let text = Text::new().plain("📡 ").code(device_name(name)).plain(" was not heard yet.");
    text.plain("\n\tMAC address    : ").code(mac.to_string())
}

/// Who looked for an SSID.
pub(crate) fn ssid(ssid: &domain::Ssid, page: &Page, names: &BTreeMap<Mac, Names>, zone: &TimeZone) -> Text {
    let name = limit::cut(&ssid.to_string(), 1_024);
    let count = match (page.devices.len(), &page.next) {
        (0, _) => return Text::new().plain("🛎 No device looked for ").code(name),
        (1, None) => "📶 1 device looked for ".to_owned(),
        (count, None) => format!("📶 {count} devices looked for "),
        (count, Some(_)) => format!("📶 More than {count} devices looked for "),
    };
    let mut head = Text::new().plain(count).code(name);
    if page.next.is_some() {
        head = head.plain(", these of late");
    }
    let line = |(mac, tally): &(Mac, Tally)| {
        let name = names.get(mac).and_then(Names::best);
        called(*mac, name).plain(format!(" : {}", heard(tally, zone)))
    };
    list(head, page.devices.iter().map(line).collect(), 0)
}

/// A device by its name and address, or its address and what that tells.
pub(crate) fn called(mac: Mac, name: Option<&str>) -> Text {
    Text::new().code(match (name, vendor::of(mac)) {
        (Some(name), _) => format!("{} ({mac})", device_name(name)),
        (None, _) if mac.is_locally_administered() => format!("{mac} (random address)"),
        (None, Some(vendor)) => format!("{mac} ({vendor})"),
        (None, None) => mac.to_string(),
    })
}

/// A device's name, fit to stand in a line.
pub(crate) fn device_name(name: &str) -> String {
    limit::line(name, MAX_DEVICE_UNITS)
}

fn heard(tally: &Tally, zone: &TimeZone) -> String {
    let probes = if tally.count == 1 { "probe" } else { "probes" };
    format!("{} {probes}, latest {}", tally.count, for_people(tally.last, zone))
}

/// A list with a mark a line: as many lines as a message takes, with room for a last line of so many units.
pub(crate) fn list(head: Text, lines: Vec<Text>, last_units: usize) -> Text {
    list_of(lines.len(), head, lines, last_units)
}

/// The same, of which these lines are the first of so many.
pub(crate) fn list_of(count: usize, head: Text, lines: Vec<Text>, last_units: usize) -> Text {
    let mut text = head;
    let mut listed = 0;
    let room = limit::MAX_UNITS.saturating_sub(last_units).saturating_sub("\n\tand 10000 more".len());
    for line in lines {
        let units = text.units() + line.units() + "\n\t".len();
        if listed >= MAX_MARKED_LINES || units > room {
            break;
        }
        text = text.plain("\n\t").append(line);
        listed += 1;
    }
    match count.saturating_sub(listed) {
        0 => text,
        more => text.plain(format!("\n\tand {more} more")),
    }
}

/// A pattern, fit to stand in a code mark.
pub(crate) fn name(pattern: &Pattern) -> String {
    limit::cut(&pattern.to_string(), MAX_NAME_UNITS)
}

/// A number of things, in words.
pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The question could not be answered. What went wrong stands in the log.
pub(crate) const QUERY_FAILED: &str =
    "❌ Query failed: the statistics cannot be read just now. Please ask again in a minute.";

/// What one can ask.
pub(crate) fn help(role: Role) -> String {
    let of_owners = if role == Role::Owner { HELP_OF_OWNERS } else { "" };
    format!("{HELP}{of_owners}{HELP_END}")
}

const HELP: &str = "I hear which Wi-Fi networks devices look for.\n\n\
    Send me a device's name or a part of it, or its MAC address in any spelling, and I tell what it looked for:\n\
    \ta4:83:e7:4e:39:15\n\n\
    /device NAME – the same (in groups, where I see commands only)\n\
    /name MAC Kitchen speaker – what this chat calls a device; /name MAC alone takes it away\n\
    /ssid NAME – which devices looked for a network (/ssid hex:524e4d30 for exact bytes)\n\
    /watch NAME reason – tells you when a device looks for it: a name with spaces in quotes, * and ? stand for anything, \
    -i for any case, -c 30m for another quiet time\n\
    /watches – what is watched · /unwatch NAME\n\
    /mute NAME 1h · /unmute NAME – nothing of it for a while\n\
    /shared on|off – the watch list that all chats share\n\
    /ignore NAME · /unignore NAME · /ignored – devices that you know\n\
    /quiet 22:00-07:00 · /timezone Europe/London – how you are told\n\
    /status – how far the counting is, and how the sensors are\n\
    /help – this text\n";

const HELP_OF_OWNERS: &str = "\nFor owners:\n\
    /invite – a link that lets a chat in (/invite owner)\n\
    /allow ID · /disallow ID · /chats – who may ask\n\
    /hook URL · /hooks · /unhook ID – alerts to a webhook too (json, slack or ntfy)\n\
    /health on|off – word when a sensor, or the way from it, is in trouble, and when it is well again\n";

const HELP_END: &str = "\nA device that looks for a watched network is told at once and once; that message counts what follows, \
    until the device was silent for the quiet time (15 min).\n\
    In quiet hours alerts come without a sound.\n\
    Phones that only pass change their address often: they are told together, in one message.\n\n\
    Phones of today rarely name networks and change their address often: what I know best are laptops, printers and other \
    things.";

/// The answer to a command that is none.
pub(crate) fn unknown_command(command: &str) -> Text {
    let command = echo(command);
    Text::new().plain("🛎 I don't know the command ").code(command).plain(". /help says what you can ask.")
}

/// The answer to a command that needs a word more.
pub(crate) fn usage(example: &str) -> Text {
    Text::new().plain("🛎 That needs a word more, for example: ").code(example)
}

/// The answer to a member who wants what is for owners.
pub(crate) const FOR_OWNERS: &str = "🛎 That is for the bot's owners. /help says what you can ask.";

/// The answer to a name that nothing is watched by.
pub(crate) fn not_watched(asked: &str) -> Text {
    Text::new()
        .plain("🛎 Nothing is watched by the name ")
        .code(echo(asked))
        .plain(". /watches lists what is.")
}

/// All that a stranger learns.
pub(crate) fn stranger(chat_id: i64) -> String {
    format!("This bot is private. Its owner can let this chat in by its id: {chat_id}")
}

/// What somebody wrote, fit to stand in a line.
pub(crate) fn echo(text: &str) -> String {
    limit::line(text, MAX_ECHO_UNITS)
}

#[cfg(test)]
mod tests {
    use domain::Ssid;
    use domain::tally::DeviceTally;

    use super::*;

    fn tally(count: u64) -> Tally {
        Tally { count, first: 1_587_225_867_000, last: 1_587_562_620_000, signal: None }
    }

    fn told(ssids: Vec<(Ssid, Tally)>) -> String {
        let heard = Device { tally: DeviceTally { all: tally(178), wildcard: 61, no_ssid: 0 }, ssids };
        let mac = "a4:83:e7:4e:39:15".parse().unwrap();
        device(mac, &Names::default(), &heard, &TimeZone::get("Europe/London").unwrap()).to_string()
    }

    #[test]
    fn a_device_gets_the_seeds_reply() {
        let names = ["RNM0", "FULLERS", "skyclub", "FreePubWiFi"];
        let ssids = names.map(|name| (Ssid::new(name.as_bytes()).unwrap(), tally(1))).to_vec();
        assert_eq!(
            told(ssids),
            "📡 Wi-Fi probe stats for a4:83:e7:4e:39:15\n\tEarliest probe : 2020-04-18 17:04:27 BST\n\tLatest probe   : 2020-04-22 14:37:00 BST\n\tProbe count    : 178\n\tUnique SSIDs   : 4 (RNM0, FULLERS, skyclub, FreePubWiFi)\n\tAny network    : 61\n\tVendor         : Apple, Inc."
        );
        assert!(told(Vec::new()).contains("\tUnique SSIDs   : 0\n\tAny network"));
    }

    #[test]
    fn no_answer_is_longer_than_a_message() {
        let long = |number: u32| Ssid::new(format!("{number:->255}").into_bytes()).unwrap();
        let reply = told((0..100).map(|number| (long(number), tally(1))).collect());
        assert!(
            limit::units(&reply) <= limit::MAX_UNITS && reply.contains("and 85 more)\n\tAny network"),
            "{reply}"
        );
        let bytes = |number: u8| Ssid::new([number; 255]).unwrap();
        let reply = told((1..=31).map(|number| (bytes(number), tally(1))).collect());
        assert!(limit::units(&reply) <= limit::MAX_UNITS);

        let row = |number: u8| (Mac::new([2, 0, 0, 0, 0, number]), tally(u64::from(number)));
        let page = Page { devices: (0..200).map(row).collect(), next: Some("2020".to_owned()) };
        let reply = ssid(&bytes(1), &page, &BTreeMap::new(), &TimeZone::UTC).to_string();
        assert!(limit::units(&reply) <= limit::MAX_UNITS && reply.contains(" more"), "{reply}");
        assert!(limit::units(no_such_device(&"📡".repeat(5_000)).as_str()) < 200);
        let lines = (0..200).map(|number| Text::new().code(long(number).to_string())).collect();
        let reply = list(Text::from("head"), lines, 100).to_string();
        assert!(limit::units(&reply) <= limit::MAX_UNITS - 100 && reply.ends_with(" more"), "{reply}");
        assert!(limit::units(&help(Role::Owner)) <= limit::MAX_UNITS);
    }

    #[test]
    fn who_looked_is_told_a_line_each() {
        let page = Page { devices: vec![("62:45:b6:c6:7e:03".parse().unwrap(), tally(1))], next: None };
        assert_eq!(
            ssid(&Ssid::new(*b"RNM0").unwrap(), &page, &BTreeMap::new(), &TimeZone::UTC).to_string(),
            "📶 1 device looked for RNM0\n\t62:45:b6:c6:7e:03 (random address) : 1 probe, latest 2020-04-22 13:37:00 UTC"
        );
    }
}
