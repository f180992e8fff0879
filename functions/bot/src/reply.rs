//! What people are told: the seed's texts, tabs and all.

use domain::Mac;
use domain::tally::Tally;
use jiff::tz::TimeZone;
use state::device::Device;
use state::ssid::Page;
use telegram::limit;

use crate::zoned::for_people;

/// The longest piece of what somebody wrote that is repeated to them.
const MAX_ECHO_UNITS: usize = 100;

/// The answer to a text that we cannot place: names of devices are not known yet.
pub(crate) fn no_such_device(asked: &str) -> String {
    format!("🛎 No result found for device {}", echo(asked))
}

/// What was heard of a device.
pub(crate) fn device(mac: Mac, device: &Device, zone: &TimeZone) -> String {
    let all = &device.tally.all;
    let head = format!(
        "📡 Wi-Fi probe stats for {mac}\n\tEarliest probe : {}\n\tLatest probe   : {}\n\tProbe count    : {}\n\tUnique SSIDs   : {}",
        for_people(all.first, zone),
        for_people(all.last, zone),
        all.count,
        device.ssids.len(),
    );
    let tail = format!("\n\tAny network    : {}", device.tally.wildcard);
    if device.ssids.is_empty() {
        return head + &tail;
    }
    let names: Vec<String> = device.ssids.iter().map(|(ssid, _tally)| ssid.to_string()).collect();
    let room = limit::MAX_UNITS - limit::units(&head) - limit::units(&tail) - " ()".len();
    format!("{head} ({}){tail}", limit::list(&names, ", ", room))
}

/// Who looked for an SSID.
pub(crate) fn ssid(ssid: &domain::Ssid, page: &Page, zone: &TimeZone) -> String {
    let name = limit::cut(&ssid.to_string(), 1_024);
    if page.devices.is_empty() {
        return format!("🛎 No device looked for {name}");
    }
    let head = match (page.devices.len(), &page.next) {
        (1, None) => format!("📶 1 device looked for {name}"),
        (count, None) => format!("📶 {count} devices looked for {name}"),
        (count, Some(_)) => format!("📶 More than {count} devices looked for {name}, these of late"),
    };
    let lines: Vec<String> = page.devices.iter().map(|(mac, tally)| looked(*mac, tally, zone)).collect();
    let room = limit::MAX_UNITS - limit::units(&head) - "\n\t".len();
    format!("{head}\n\t{}", limit::list(&lines, "\n\t", room))
}

fn looked(mac: Mac, tally: &Tally, zone: &TimeZone) -> String {
    let probes = if tally.count == 1 { "probe" } else { "probes" };
    let random = if mac.is_locally_administered() { " (random address)" } else { "" };
    format!("{mac}{random} : {} {probes}, latest {}", tally.count, for_people(tally.last, zone))
}

/// The question could not be answered. What went wrong stands in the log.
pub(crate) const QUERY_FAILED: &str =
    "❌ Query failed: the statistics cannot be read just now. Please ask again in a minute.";

/// What one can ask.
pub(crate) const HELP: &str = "I hear which Wi-Fi networks devices look for.\n\n\
    Send me the MAC address of a device, in any spelling, and I tell what it looked for:\n\
    \ta4:83:e7:4e:39:15\n\n\
    /device MAC – the same (in groups, where I see commands only)\n\
    /ssid NAME – which devices looked for a network (/ssid hex:524e4d30 for exact bytes)\n\
    /help – this text\n\n\
    Phones of today rarely name networks and change their address often: what I know best are laptops, printers and other \
    things.";

/// The answer to a command that is none.
pub(crate) fn unknown_command(command: &str) -> String {
    format!("🛎 I don't know the command {}. /help says what you can ask.", echo(command))
}

/// The answer to a command that needs a word more.
pub(crate) fn usage(example: &str) -> String {
    format!("🛎 That needs a word more, for example: {example}")
}

/// All that a stranger learns.
pub(crate) fn stranger(chat_id: i64) -> String {
    format!("This bot is private. Its owner can let this chat in by its id: {chat_id}")
}

/// What somebody wrote, fit to stand in a line.
pub(crate) fn echo(text: &str) -> String {
    let line: String =
        text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    limit::cut(line.trim(), MAX_ECHO_UNITS)
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
        let reply = ssid(&bytes(1), &page, &TimeZone::UTC);
        assert!(limit::units(&reply) <= limit::MAX_UNITS && reply.contains(" more"), "{reply}");
        assert!(limit::units(&no_such_device(&"📡".repeat(5_000))) < 200);
    }

    #[test]
    fn who_looked_is_told_a_line_each() {
        let page = Page { devices: vec![("62:45:b6:c6:7e:03".parse().unwrap(), tally(1))], next: None };
        assert_eq!(
            ssid(&Ssid::new(*b"RNM0").unwrap(), &page, &TimeZone::UTC),
            "📶 1 device looked for RNM0\n\t62:45:b6:c6:7e:03 (random address) : 1 probe, latest 2020-04-22 13:37:00 UTC"
        );
    }
}
