//! What people are told: the seed's texts, tabs and all.
//!
//! What a device or a stranger could have chosen stands in code marks: there it cannot become a link, a command or a mention.

use domain::tally::Tally;
use domain::{Mac, Pattern};
use jiff::tz::TimeZone;
use state::chats::Role;
use state::device::Device;
use state::ssid::Page;
use telegram::message::WebhookReply;
use telegram::{Keyboard, Message, Text, limit};

use runtime::zoned::for_people;

/// The longest piece of what somebody wrote that is repeated to them.
const MAX_ECHO_UNITS: usize = 100;
/// The longest name of a network: an SSID of escapes has up to 1,020 characters.
const MAX_NAME_UNITS: usize = 256;
/// Lines of a list with a mark each: Telegram heeds 100 marks in a message. <https://core.telegram.org/api/entities>
const MAX_MARKED_LINES: usize = 95;

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

    /// As a message to a chat.
    pub(crate) fn into_message(self, chat: i64) -> WebhookReply {
        let message = Message::new(chat, self.text);
        WebhookReply::SendMessage(match self.keyboard {
            Some(keyboard) => message.with_keyboard(keyboard),
            None => message,
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

/// The answer to a text that we cannot place: names of devices are not known yet.
pub(crate) fn no_such_device(asked: &str) -> Text {
    Text::new().plain("🛎 No result found for device ").code(echo(asked))
}

/// What was heard of a device.
pub(crate) fn device(mac: Mac, device: &Device, zone: &TimeZone) -> Text {
    let all = &device.tally.all;
    let head = Text::new().plain("📡 Wi-Fi probe stats for ").code(mac.to_string()).plain(format!(
        "\n\tEarliest probe : {}\n\tLatest probe   : {}\n\tProbe count    : {}\n\tUnique SSIDs   : {}",
        for_people(all.first, zone),
        for_people(all.last, zone),
        all.count,
        device.ssids.len(),
    ));
    let tail = format!("\n\tAny network    : {}", device.tally.wildcard);
    if device.ssids.is_empty() {
        return head.plain(tail);
    }
    let names: Vec<String> = device.ssids.iter().map(|(ssid, _tally)| ssid.to_string()).collect();
    let room = limit::MAX_UNITS - limit::units(head.as_str()) - limit::units(&tail) - " ()".len();
    head.plain(" (").code(limit::list(&names, ", ", room)).plain(")").plain(tail)
}

/// Who looked for an SSID.
pub(crate) fn ssid(ssid: &domain::Ssid, page: &Page, zone: &TimeZone) -> Text {
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
    let lines: Vec<String> = page.devices.iter().map(|(mac, tally)| looked(*mac, tally, zone)).collect();
    let room = limit::MAX_UNITS - limit::units(head.as_str()) - "\n\t".len();
    head.plain(format!("\n\t{}", limit::list(&lines, "\n\t", room)))
}

fn looked(mac: Mac, tally: &Tally, zone: &TimeZone) -> String {
    let probes = if tally.count == 1 { "probe" } else { "probes" };
    let random = if mac.is_locally_administered() { " (random address)" } else { "" };
    format!("{mac}{random} : {} {probes}, latest {}", tally.count, for_people(tally.last, zone))
}

/// A list with a mark a line: as many lines as a message takes, with room for a last line of so many units.
pub(crate) fn list(head: Text, lines: Vec<Text>, last_units: usize) -> Text {
    let mut text = head;
    let count = lines.len();
    let room = limit::MAX_UNITS.saturating_sub(last_units).saturating_sub("\n\tand 10000 more".len());
    for (position, line) in lines.into_iter().enumerate() {
        let units = limit::units(text.as_str()) + limit::units(line.as_str()) + "\n\t".len();
        if position >= MAX_MARKED_LINES || units > room {
            return text.plain(format!("\n\tand {} more", count.saturating_sub(position)));
        }
        text = text.plain("\n\t").append(line);
    }
    text
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
    Send me the MAC address of a device, in any spelling, and I tell what it looked for:\n\
    \ta4:83:e7:4e:39:15\n\n\
    /device MAC – the same (in groups, where I see commands only)\n\
    /ssid NAME – which devices looked for a network (/ssid hex:524e4d30 for exact bytes)\n\
    /watch NAME reason – tells you when a device looks for it: a name with spaces in quotes, * and ? stand for anything, \
    -i for any case, -c 30m for another quiet time\n\
    /watches – what is watched · /unwatch NAME\n\
    /mute NAME 1h · /unmute NAME – nothing of it for a while\n\
    /shared on|off – the watch list that all chats share\n\
    /ignore MAC · /unignore MAC · /ignored – devices that you know\n\
    /quiet 22:00-07:00 · /timezone Europe/London – how you are told\n\
    /status – how far the counting is\n\
    /help – this text\n";

const HELP_OF_OWNERS: &str = "\nFor owners:\n\
    /invite – a link that lets a chat in (/invite owner)\n\
    /allow ID · /disallow ID · /chats – who may ask\n\
    /hook URL · /hooks · /unhook ID – alerts to a webhook too (json, slack or ntfy)\n";

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

    fn stats(ssids: Vec<(Ssid, Tally)>) -> String {
        let heard = Device { tally: DeviceTally { all: tally(178), wildcard: 61, no_ssid: 0 }, ssids };
        device("a4:83:e7:4e:39:15".parse().unwrap(), &heard, &TimeZone::get("Europe/London").unwrap())
            .to_string()
    }

    #[test]
    fn a_device_gets_the_seeds_reply() {
        let names = ["RNM0", "FULLERS", "skyclub", "FreePubWiFi"];
        let ssids = names.map(|name| (Ssid::new(name.as_bytes()).unwrap(), tally(1))).to_vec();
        assert_eq!(
            stats(ssids),
            "📡 Wi-Fi probe stats for a4:83:e7:4e:39:15\n\tEarliest probe : 2020-04-18 17:04:27 BST\n\tLatest probe   : 2020-04-22 14:37:00 BST\n\tProbe count    : 178\n\tUnique SSIDs   : 4 (RNM0, FULLERS, skyclub, FreePubWiFi)\n\tAny network    : 61"
        );
        assert!(stats(Vec::new()).contains("\tUnique SSIDs   : 0\n\tAny network"));
    }

    #[test]
    fn no_answer_is_longer_than_a_message() {
        let long = |number: u32| Ssid::new(format!("{number:->255}").into_bytes()).unwrap();
        let reply = stats((0..100).map(|number| (long(number), tally(1))).collect());
        assert!(
            limit::units(&reply) <= limit::MAX_UNITS && reply.contains("and 85 more)\n\tAny network"),
            "{reply}"
        );
        let bytes = |number: u8| Ssid::new([number; 255]).unwrap();
        let reply = stats((1..=31).map(|number| (bytes(number), tally(1))).collect());
        assert!(limit::units(&reply) <= limit::MAX_UNITS);

        let row = |number: u8| (Mac::new([2, 0, 0, 0, 0, number]), tally(u64::from(number)));
        let page = Page { devices: (0..200).map(row).collect(), next: Some("2020".to_owned()) };
        let reply = ssid(&bytes(1), &page, &TimeZone::UTC).to_string();
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
            ssid(&Ssid::new(*b"RNM0").unwrap(), &page, &TimeZone::UTC).to_string(),
            "📶 1 device looked for RNM0\n\t62:45:b6:c6:7e:03 (random address) : 1 probe, latest 2020-04-22 13:37:00 UTC"
        );
    }
}
