//! How an alert is told: the seed's words, then what one wants to know next.

use domain::{Ssid, Who, vendor};
use jiff::tz::TimeZone;
use runtime::zoned::{for_people, time_of_day};
use state::messages::{Alert, Message, State};
use telegram::{Button, Keyboard, Text, limit};

/// A record that is older than this when it is told says so.
const LATE_MS: i64 = 10 * 60 * 1000;
/// So many other networks are named.
const MAX_OTHER_SSIDS: usize = 5;
/// A name, or a reason, in a message: an SSID of escapes has up to 1,020 characters.
const MAX_NAME_UNITS: usize = 256;

/// Other networks that a device has looked for.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Those of late first.
    pub(crate) ssids: Vec<Ssid>,
    /// Whether there may be more.
    pub(crate) may_be_more: bool,
}

/// The text of an alert. `device` is what the device is called.
pub(crate) fn text(
    message: &Message,
    alert: &Alert,
    device: Option<&str>,
    others: &Others,
    zone: &TimeZone,
    now_ms: i64,
) -> Text {
    let mut text = Text::new().plain("📣 At ").plain(for_people(alert.time, zone)).append(who(alert, device));
    text = text.plain(" probed for SSID ").code(name(&alert.ssid));
    if let Some(late) = late(message, alert, now_ms) {
        text = text.plain(late);
    }
    text = text.plain("\n\nThis SSID is being tracked because: ").plain(reason(alert));
    let details = details(alert, device, others);
    if !details.as_str().is_empty() {
        text = text.plain("\n").append(details);
    }
    if alert.counted.count > 1 {
        text = text.plain("\n").plain(counted(alert, zone));
    }
    if let Some(note) = &message.note {
        text = text.plain("\n\n").plain(note);
    }
    text
}

/// What one can do about it.
pub(crate) fn keyboard(message: &Message, alert: &Alert) -> Keyboard {
    let button = |text: &str, verb: &str| Button::new(text, format!("{verb}:{}", message.id));
    let mut row = vec![button("Mute 1 h", "mute")];
    if let Who::Device(_) = alert.who {
        row.push(button("Ignore this device", "ignore"));
    }
    row.push(button("Unwatch", "unwatch"));
    Keyboard::rows(vec![row])
}

fn who(alert: &Alert, device: Option<&str>) -> Text {
    if alert.who == Who::Passing && alert.counted.addresses > 1 {
        return Text::new().plain(format!(" {} passing phones", addresses(alert)));
    }
    let text = Text::new().plain(" MAC address ").code(alert.mac.to_string());
    match device {
        Some(device) => text.plain(" (").code(limit::line(device, MAX_NAME_UNITS)).plain(")"),
        None if alert.who == Who::Passing => text.plain(" (random address)"),
        None => text,
    }
}

fn addresses(alert: &Alert) -> String {
    match alert.counted.addresses {
        most if most >= domain::episode::Addresses::MAX => format!("{most} or more"),
        count => count.to_string(),
    }
}

/// An SSID as it is shown in a message.
pub(crate) fn name(ssid: &Ssid) -> String {
    limit::cut(&ssid.to_string(), MAX_NAME_UNITS)
}

/// Why a network is watched, in a line.
pub(crate) fn reason(alert: &Alert) -> String {
    match &alert.reason {
        Some(reason) => limit::line(reason, MAX_NAME_UNITS),
        None => format!("{} is on the watch list", limit::cut(&alert.pattern.to_string(), MAX_NAME_UNITS)),
    }
}

fn late(message: &Message, alert: &Alert, now_ms: i64) -> Option<String> {
    let told_ms = match message.state {
        State::Sent { sent_ms, .. } => sent_ms,
        _ => now_ms,
    };
    let age = told_ms.saturating_sub(alert.time);
    (age > LATE_MS).then(|| format!(" (late: seen {} ago)", for_how_long(age)))
}

/// A time span in one unit.
fn for_how_long(ms: i64) -> String {
    const MINUTE: i64 = 60 * 1000;
    match ms / MINUTE {
        minutes if minutes < 120 => format!("{minutes} min"),
        minutes if minutes < 48 * 60 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / (24 * 60)),
    }
}

/// Signal and sensor, who made a device that has no name, and which other networks it has looked for.
fn details(alert: &Alert, device: Option<&str>, others: &Others) -> Text {
    let sensor = alert.sensor.as_deref().map(|sensor| limit::line(sensor, MAX_NAME_UNITS));
    let mut text = match (alert.signal_dbm, sensor) {
        (Some(signal), Some(sensor)) => Text::new().plain(format!("{signal} dBm at ")).code(sensor),
        (Some(signal), None) => Text::new().plain(format!("{signal} dBm")),
        (None, Some(sensor)) => Text::new().plain("heard at ").code(sensor),
        (None, None) => Text::new(),
    };
    let separator = |text: &Text| if text.as_str().is_empty() { "" } else { " · " };
    if let (Who::Device(mac), None) = (alert.who, device)
        && let Some(vendor) = vendor::of(mac)
    {
        let separator = separator(&text);
        text = text.plain(separator).plain("made by ").code(vendor);
    }
    if others.ssids.is_empty() {
        return text;
    }
    let separator = separator(&text);
    text = text.plain(separator).plain("also looked for ");
    for (position, ssid) in others.ssids.iter().take(MAX_OTHER_SSIDS).enumerate() {
        text = text.plain(if position == 0 { "" } else { ", " }).code(name(ssid));
    }
    match others.ssids.len().saturating_sub(MAX_OTHER_SSIDS) {
        0 => text,
        _ if others.may_be_more => text.plain(" and others"),
        more => text.plain(format!(" and {more} more")),
    }
}

fn counted(alert: &Alert, zone: &TimeZone) -> String {
    let day = |time| for_people(time, zone).chars().take("2020-04-22".len()).collect::<String>();
    let last = alert.counted.last;
    let until = if day(last) == day(alert.time) { time_of_day(last, zone) } else { for_people(last, zone) };
    match (alert.who, alert.counted.addresses) {
        (Who::Passing, 2..) => {
            format!("{} probes of {} passing phones until {until}", alert.counted.count, addresses(alert))
        }
        _ => format!("{} probes until {until}", alert.counted.count),
    }
}

#[cfg(test)]
mod tests {
    use domain::{Mac, Pattern};
    use state::messages::{Content, Counted, Destination, MessageId};

    use super::*;

    /// 2020-04-23 18:14:56 in London.
    const TIME: i64 = 1_587_662_096_000;

    fn alert(mac: &str) -> Alert {
        let mac: Mac = mac.parse().unwrap();
        let ssid = Ssid::new(*b"RNM-GUEST").unwrap();
        Alert {
            watch: "00000000000000ff".parse().unwrap(),
            pattern: Pattern::exact(ssid.clone()),
            reason: Some("guest network".to_owned()),
            who: Who::of(mac),
            mac,
            ssid,
            time: TIME,
            signal_dbm: Some(-63),
            sensor: Some("hallway".to_owned()),
            counted: Counted { count: 1, last: TIME, addresses: 1 },
        }
    }

    fn told(alert: &Alert, others: &Others, now_ms: i64) -> String {
        told_of(alert, None, others, now_ms)
    }

    fn told_of(alert: &Alert, device: Option<&str>, others: &Others, now_ms: i64) -> String {
        let id = MessageId::of_opening(&Destination::Chat(1), alert.watch, "pcap@1/0", 7);
        let content = Content::Alert(Box::new(alert.clone()));
        let message = Message::new(id, Destination::Chat(1), 1, content, TIME);
        text(&message, alert, device, others, &TimeZone::get("Europe/London").unwrap(), now_ms).to_string()
    }

    #[test]
    fn an_alert_has_the_seeds_words() {
        let mut bare = alert("78:67:d7:48:e5:c7");
        (bare.signal_dbm, bare.sensor) = (None, None);
        assert_eq!(
            told(&bare, &Others::default(), TIME),
            "📣 At 2020-04-23 18:14:56 BST MAC address 78:67:d7:48:e5:c7 probed for SSID RNM-GUEST\n\n\
             This SSID is being tracked because: guest network\nmade by Apple, Inc."
        );
    }

    #[test]
    fn an_alert_tells_what_one_wants_to_know_next() {
        let mut alert = alert("78:67:d7:48:e5:c7");
        alert.counted = Counted { count: 14, last: TIME + 6 * 60_000, addresses: 1 };
        let name = |number: usize| Ssid::new(format!("net{number}").into_bytes()).unwrap();
        let others = Others { ssids: (0..7).map(name).collect(), may_be_more: false };
        let text = told(&alert, &others, TIME + 20 * 60 * 60 * 1000);
        assert!(text.contains("RNM-GUEST (late: seen 20 h ago)\n\n"), "{text}");
        let tail = "\n-63 dBm at hallway · made by Apple, Inc. · also looked for net0, net1, net2, net3, net4 and 2 more\n14 probes until 18:20";
        assert!(text.ends_with(tail), "{text}");
    }

    #[test]
    fn a_device_that_has_a_name_is_called_by_it() {
        let mut alert = alert("78:67:d7:48:e5:c7");
        let text = told_of(&alert, Some("Kim's\u{202e}\nLaptop"), &Others::default(), TIME);
        let named = "MAC address 78:67:d7:48:e5:c7 (Kim's Laptop) probed for SSID RNM-GUEST\n";
        assert!(text.contains(named) && !text.contains("made by"), "{text}");
        alert = self::alert("62:45:b6:c6:7e:03");
        let text = told_of(&alert, Some("Kim's phone"), &Others::default(), TIME);
        assert!(text.contains("62:45:b6:c6:7e:03 (Kim's phone) probed"), "{text}");
    }

    #[test]
    fn passing_phones_are_told_together() {
        let mut alert = alert("62:45:b6:c6:7e:03");
        assert!(
            told(&alert, &Others::default(), TIME)
                .contains("MAC address 62:45:b6:c6:7e:03 (random address) probed")
        );
        alert.counted = Counted { count: 9, last: TIME + 24 * 60 * 60 * 1000, addresses: 3 };
        let text = told(&alert, &Others::default(), TIME);
        assert!(text.starts_with("📣 At 2020-04-23 18:14:56 BST 3 passing phones probed for SSID"), "{text}");
        assert!(text.ends_with("9 probes of 3 passing phones until 2020-04-24 18:14:56 BST"), "{text}");
    }

    #[test]
    fn hostile_names_disturb_nothing() {
        let mut alert = alert("78:67:d7:48:e5:c7");
        alert.ssid = Ssid::new([0xff; 255]).unwrap();
        alert.reason = Some("a\nb\u{7}".repeat(1_000));
        alert.sensor = Some("\n".repeat(5_000));
        let text = told(&alert, &Others::default(), TIME);
        assert!(telegram::limit::units(&text) < 1_000 && text.lines().count() <= 4, "{text}");
    }
}
