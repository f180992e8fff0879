//! The conversation: what somebody wrote in, what they are told out.

use domain::{Mac, Ssid};
use state::names::{self, View};

use crate::asking::Asking;
use crate::error::Error;
use crate::reply::{self, Reply};
use crate::{commands, courtesy, devices, hooks, members, naming, report, settings, watching};

/// Answers a text that somebody wrote, perhaps in reply to a message of a bot. When the table does not answer, it says so and the
/// log says why. Nothing is said to what people in a group say to each other: with privacy mode off, and to an administrator,
/// Telegram shows all of it.
pub(crate) async fn answer(text: &str, replied_to: Option<&str>, asking: &Asking<'_>) -> Option<Reply> {
    let text = text.trim();
    let to_be_named = replied_to.and_then(naming::asked_about).filter(|_| !text.starts_with('/'));
    if !asking.is_private && to_be_named.is_none() && !is_for_us(text, asking).await {
        return None;
    }
    let answer = match to_be_named {
        Some(mac) => naming::set(mac, text, asking).await,
        None => try_answer(text, asking).await,
    };
    Some(answer.unwrap_or_else(|error| {
        tracing::error!(error = runtime::log::with_causes(&error), "a question could not be answered");
        reply::QUERY_FAILED.into()
    }))
}

/// Whether something that was written in a group is meant for this bot: a command of ours, unless it names another bot, or a device.
async fn is_for_us(text: &str, asking: &Asking<'_>) -> bool {
    let Some(command) = text.strip_prefix('/') else { return text.parse::<Mac>().is_ok() };
    let word = command.split(char::is_whitespace).next().unwrap_or(command);
    match word.split_once('@') {
        Some((_, addressee)) => {
            courtesy::user_name(asking.context).await.is_none_or(|name| name.eq_ignore_ascii_case(addressee))
        }
        None => commands::is_known(&word.to_ascii_lowercase()),
    }
}

async fn try_answer(text: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let Some(command) = text.strip_prefix('/') else { return devices::device(text, asking).await };
    let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    // In a group a command may name the bot it is meant for: /ssid@probegram_bot
    let name = name.split('@').next().unwrap_or(name);
    let lower = name.to_ascii_lowercase();
    if commands::is_of_owners(&lower) && !asking.is_owner() {
        return Ok(reply::FOR_OWNERS.into());
    }
    match (lower.as_str(), argument.trim()) {
        ("start", "") | ("help", _) => Ok(reply::help(asking.chat.role).into()),
        ("start", code) => members::start(code, asking).await,
        ("device", "") => Ok(reply::usage("/device Kitchen speaker").into()),
        ("device", asked) => devices::device(asked, asking).await,
        ("name", "") => Ok(reply::usage("/name a4:83:e7:4e:39:15 Robin's laptop").into()),
        ("name", asked) => naming::name(asked, asking).await,
        ("ssid", "") => Ok(reply::usage("/ssid RNM0").into()),
        ("ssid", asked) => ssid(asked, asking).await,
        ("watch", "") => Ok(reply::usage("/watch RNM-GUEST guest network").into()),
        ("watch", asked) => watching::watch(asked, asking).await,
        ("unwatch", "") => Ok(reply::usage("/unwatch RNM-GUEST").into()),
        ("unwatch", asked) => watching::unwatch(asked, asking).await,
        ("watches", _) => watching::watches(asking).await,
        ("shared", asked) => watching::shared(asked, asking).await,
        ("mute", "") => Ok(reply::usage("/mute RNM-GUEST 1h").into()),
        ("mute", asked) => watching::mute(asked, asking).await,
        ("unmute", "") => Ok(reply::usage("/unmute RNM-GUEST").into()),
        ("unmute", asked) => watching::unmute(asked, asking).await,
        ("ignore", "") => Ok(reply::usage("/ignore Kitchen speaker").into()),
        ("ignore", asked) => settings::ignore(asked, asking).await,
        ("unignore", "") => Ok(reply::usage("/unignore Kitchen speaker").into()),
        ("unignore", asked) => settings::unignore(asked, asking).await,
        ("ignored", _) => settings::ignored(&asking.chat, asking).await,
        ("quiet", asked) => settings::quiet(asked, asking).await,
        ("timezone", asked) => settings::time_zone(asked, asking).await,
        ("health", asked) => settings::health(asked, asking).await,
        ("status", _) => report::status(asking).await,
        ("allow", "") => Ok(reply::usage("/allow 4242424242 member").into()),
        ("allow", asked) => members::allow(asked, asking).await,
        ("disallow", "") => Ok(reply::usage("/disallow 4242424242").into()),
        ("disallow", asked) => members::disallow(asked, asking).await,
        ("chats", _) => members::chats(asking).await,
        ("invite", asked) => members::invite(asked, asking).await,
        ("hook", "") => Ok(reply::usage("/hook https://example.com/alerts json").into()),
        ("hook", asked) => hooks::hook(asked, asking).await,
        ("hooks", _) => hooks::hooks(asking).await,
        ("unhook", "") => Ok(reply::usage("/unhook a1b2c3d4").into()),
        ("unhook", asked) => hooks::unhook(asked, asking).await,
        _ => Ok(reply::unknown_command(&format!("/{name}")).into()),
    }
}

async fn ssid(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let ssid = match asked.strip_prefix("hex:") {
        Some(hex) => Ssid::from_hex(hex.trim()),
        None => Ssid::new(asked.as_bytes()),
    };
    let ssid = match ssid {
        Ok(ssid) => ssid,
        Err(why) => return Ok(format!("🛎 That is no network's name: {why}").into()),
    };
    let generation = asking.context.generation.serving().await?;
    let page = state::ssid::look_up(asking.table(), generation, &ssid, None, asking.now_ms).await?;
    let shown = page.devices.iter().take(reply::MAX_MARKED_LINES).map(|(mac, _)| *mac);
    let names = names::of(asking.table(), shown, View::Chat(asking.chat.id)).await?;
    Ok(reply::ssid(&ssid, &page, &names, &asking.zone).into())
}
