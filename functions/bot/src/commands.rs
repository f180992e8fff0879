//! The commands that Telegram offers while somebody types, for `setMyCommands`: <https://core.telegram.org/bots/api#setmycommands>

use state::chats::Role;

/// What every chat may ask: names of `a-z0-9_`, descriptions of at most 256 characters.
const OF_MEMBERS: &[(&str, &str)] = &[
    ("device", "What a device looked for: /device NAME or MAC"),
    ("name", "Call a device something: /name MAC Kitchen speaker"),
    ("ssid", "Who looked for a network: /ssid NAME"),
    ("watch", "Tell me when a device looks for a network: /watch NAME reason"),
    ("watches", "What is watched, with buttons to end it"),
    ("unwatch", "End a watch: /unwatch NAME"),
    ("mute", "Nothing of a watch for a while: /mute NAME 1h"),
    ("unmute", "End that: /unmute NAME"),
    ("shared", "The shared watch list in this chat: /shared on or off"),
    ("ignore", "No alerts about a device: /ignore NAME or MAC"),
    ("unignore", "End that: /unignore NAME or MAC"),
    ("ignored", "Devices that are ignored"),
    ("quiet", "When alerts make no sound: /quiet 22:00-07:00 or off"),
    ("timezone", "Times in your time zone: /timezone Europe/London"),
    ("status", "How far the counting is, how the sensors are, and what cannot be delivered"),
    ("help", "What you can ask"),
];

/// What an owner may do beside.
const OF_OWNERS: &[(&str, &str)] = &[
    ("invite", "A link that lets a chat in: /invite, or /invite owner"),
    ("allow", "Let a chat in by its id: /allow ID"),
    ("disallow", "Let a chat out: /disallow ID"),
    ("chats", "Who may ask"),
    ("hook", "Alerts to a webhook too: /hook URL json, slack or ntfy"),
    ("hooks", "Outgoing webhooks"),
    ("unhook", "Remove a webhook: /unhook ID"),
    ("health", "Word of sensors in trouble: /health on or off"),
];

/// The commands of a role, with a line about each.
#[must_use]
pub fn commands(role: Role) -> Vec<(&'static str, &'static str)> {
    let of_owners = if role == Role::Owner { OF_OWNERS } else { &[] };
    OF_MEMBERS.iter().chain(of_owners).copied().collect()
}

/// Whether there is such a command.
pub(crate) fn is_known(name: &str) -> bool {
    name == "start" || commands(Role::Owner).iter().any(|(command, _)| *command == name)
}

/// Whether a command is for owners alone.
pub(crate) fn is_of_owners(name: &str) -> bool {
    OF_OWNERS.iter().any(|(command, _)| *command == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telegram_takes_every_command() {
        let all = commands(Role::Owner);
        assert!(all.len() <= 100 && commands(Role::Member).len() < all.len());
        for (name, description) in all {
            let is_plain =
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            assert!(is_plain && (1..=32).contains(&name.len()), "{name}");
            assert!((1..=256).contains(&description.len()), "{name}");
        }
    }
}
