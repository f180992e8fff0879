//! The conversation: what somebody wrote in, what they are told out.

use domain::{Mac, Ssid};

use crate::context::Context;
use crate::error::Error;
use crate::reply;

/// Answers a text that somebody wrote. Always has an answer: when the table does not, it says so and the log says why.
pub(crate) async fn answer(text: &str, context: &Context) -> String {
    match try_answer(text.trim(), context).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(error = runtime::log::with_causes(&error), "a question could not be answered");
            reply::QUERY_FAILED.to_owned()
        }
    }
}

async fn try_answer(text: &str, context: &Context) -> Result<String, Error> {
    let Some(command) = text.strip_prefix('/') else { return device(text, context).await };
    let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    // In a group a command may name the bot it is meant for: /ssid@probegram_bot
    let name = name.split('@').next().unwrap_or(name);
    match (name.to_ascii_lowercase().as_str(), argument.trim()) {
        ("start" | "help", _) => Ok(reply::HELP.to_owned()),
        ("device", "") => Ok(reply::usage("/device a4:83:e7:4e:39:15")),
        ("device", asked) => device(asked, context).await,
        ("ssid", "") => Ok(reply::usage("/ssid RNM0")),
        ("ssid", asked) => ssid(asked, context).await,
        _ => Ok(reply::unknown_command(&format!("/{name}"))),
    }
}

async fn device(asked: &str, context: &Context) -> Result<String, Error> {
    let Ok(mac) = asked.parse::<Mac>() else { return Ok(reply::no_such_device(asked)) };
    let generation = context.generation.serving().await?;
    let device = state::device::look_up(&context.table, generation, mac, (context.now_ms)()).await?;
    Ok(match device {
        Some(device) => reply::device(mac, &device, &context.time_zone),
        None => reply::no_such_device(&mac.to_string()),
    })
}

async fn ssid(asked: &str, context: &Context) -> Result<String, Error> {
    let ssid = match asked.strip_prefix("hex:") {
        Some(hex) => Ssid::from_hex(hex.trim()),
        None => Ssid::new(asked.as_bytes()),
    };
    let ssid = match ssid {
        Ok(ssid) => ssid,
        Err(why) => return Ok(format!("🛎 That is no network's name: {why}")),
    };
    let generation = context.generation.serving().await?;
    let page = state::ssid::look_up(&context.table, generation, &ssid, None, (context.now_ms)()).await?;
    Ok(reply::ssid(&ssid, &page, &context.time_zone))
}
