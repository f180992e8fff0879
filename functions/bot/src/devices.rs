//! Questions about devices, by address or by name.

use domain::Mac;
use state::device::Device;
use state::names::{self, Names, View};
use state::search::{self, Found};
use telegram::{Button, Text, limit};

use crate::asking::Asking;
use crate::error::Error;
use crate::naming;
use crate::reply::{self, Reply};
use crate::watching::keyboard;

/// The most buttons below an answer.
const MAX_BUTTONS: usize = 10;
/// The verb of buttons that ask for a device.
pub(crate) const DEVICE: &str = "device";

/// A device by its address, or those that are meant by a part of it or of a name.
pub(crate) async fn device(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    if let Ok(mac) = asked.parse::<Mac>() {
        return one(mac, asking).await;
    }
    let found = find(asked, asking).await?;
    match (found.exact.as_slice(), found.partial.as_slice()) {
        ([], []) => Ok(nothing(asked, &found, DEVICE)),
        ([], [(mac, _)]) if found.more == 0 => one(*mac, asking).await,
        ([], several) => Ok(which(asked, several, found.more, DEVICE)),
        ([(mac, _)], others) => Ok(one(*mac, asking).await?.and_others(others, found.more)),
        (several, others) => {
            // those that fit best are found first
            let more = if others.is_empty() { found.more } else { 0 };
            let reply = together(several, more, asking).await?.with_more_buttons(buttons(several, DEVICE));
            Ok(reply.and_others(others, found.more))
        }
    }
}

impl Reply {
    /// With buttons for others that have it in their name.
    fn and_others(mut self, others: &[(Mac, Names)], more: usize) -> Self {
        if others.is_empty() {
            return self;
        }
        let more = reply::count(others.len() + more, "more device");
        self.text = self.text.plain(format!("\n{more} with that in the name or address:"));
        self.with_more_buttons(buttons(others, DEVICE))
    }
}

/// Which devices are meant.
async fn find(asked: &str, asking: &Asking<'_>) -> Result<Found, Error> {
    let generation = asking.context.generation.serving().await?;
    let view = View::Chat(asking.chat.id);
    Ok(search::search(asking.table(), generation, view, asked, asking.now_ms).await?)
}

/// The one device that is meant, or what to say when it is not one, with buttons that do to each what is asked for.
pub(crate) async fn the_one(
    asked: &str,
    verb: &str,
    asking: &Asking<'_>,
) -> Result<Result<Mac, Reply>, Error> {
    if let Ok(mac) = asked.parse::<Mac>() {
        return Ok(Ok(mac));
    }
    let found = find(asked, asking).await?;
    Ok(match (found.exact.as_slice(), found.partial.as_slice()) {
        ([(mac, _)], _) => Ok(*mac),
        ([], [(mac, _)]) if found.more == 0 => Ok(*mac),
        ([], []) => Err(nothing(asked, &found, verb)),
        (exact, partial) => Err(which(asked, &[exact, partial].concat(), found.more, verb)),
    })
}

/// A device by its name and address, or its address and what that tells.
pub(crate) async fn called(mac: Mac, asking: &Asking<'_>) -> Result<Text, Error> {
    let names = names::of_device(asking.table(), mac, View::Chat(asking.chat.id)).await?;
    Ok(reply::called(mac, names.best()))
}

/// What a device looked for, and what it is called.
pub(crate) async fn one(mac: Mac, asking: &Asking<'_>) -> Result<Reply, Error> {
    let generation = asking.context.generation.serving().await?;
    let (device, names) = futures::try_join!(
        state::device::look_up(asking.table(), generation, mac, asking.now_ms),
        names::of_device(asking.table(), mac, View::Chat(asking.chat.id))
    )?;
    let text = match (&device, names.best()) {
        (Some(device), _) => reply::device(mac, &names, device, &asking.zone),
        (None, Some(name)) => reply::not_heard(mac, name),
        (None, None) => return Ok(reply::no_such_device(&mac.to_string()).into()),
    };
    Ok(Reply::with_keyboard(text, keyboard(vec![naming::button(mac)])))
}

/// What devices of one name looked for, in sum and each for itself.
async fn together(devices: &[(Mac, Names)], more: usize, asking: &Asking<'_>) -> Result<Reply, Error> {
    let generation = asking.context.generation.serving().await?;
    let questions = devices.iter().map(|(mac, _)| *mac).map(async |mac| {
        let device = state::device::look_up(asking.table(), generation, mac, asking.now_ms).await?;
        Ok::<_, Error>((mac, device))
    });
    let parts: Vec<(Mac, Option<Device>)> = futures::future::try_join_all(questions).await?;
    let name = devices.first().and_then(|(_, names)| names.best()).unwrap_or_default();
    Ok(reply::together(name, &parts, more, &asking.zone).into())
}

/// Several devices have it in their name.
fn which(asked: &str, devices: &[(Mac, Names)], more: usize, verb: &str) -> Reply {
    let count = devices.len() + more;
    let mut text = Text::new().plain(format!("🔎 {} have ", reply::count(count, "device")));
    text = text.code(reply::echo(asked)).plain(" in their name or address. Which one?");
    if count > MAX_BUTTONS {
        text = text.plain(" Or write more of it.");
    }
    let lines = devices.iter().map(|(mac, names)| reply::called(*mac, names.best())).collect();
    let text = reply::list_of(count, text, lines, 0);
    Reply::with_keyboard(text, keyboard(buttons(devices, verb)))
}

/// No device has it in its name.
fn nothing(asked: &str, found: &Found, verb: &str) -> Reply {
    let text = reply::no_such_device(asked);
    if found.nearest.is_empty() {
        return text.into();
    }
    let lines = found.nearest.iter().map(|(mac, names)| reply::called(*mac, names.best())).collect();
    let text = reply::list(text.plain("\nDid you mean:"), lines, 0);
    Reply::with_keyboard(text, keyboard(buttons(&found.nearest, verb)))
}

/// A button for each of the first devices. Devices of one name are told apart by the end of their address.
fn buttons(devices: &[(Mac, Names)], verb: &str) -> Vec<Button> {
    let name = |names: &Names| names.best().map(|name| limit::line(name, 30));
    let shown = |(mac, names): &(Mac, Names)| {
        let mac = mac.to_string();
        let is_alone = devices.iter().filter(|(_, others)| name(others) == name(names)).count() == 1;
        match name(names) {
            None => mac,
            Some(name) if is_alone => name,
            Some(name) => format!("{name} …{}", mac.get("a4:83:e7:4e:".len()..).unwrap_or_default()),
        }
    };
    let button = |device: &(Mac, Names)| Button::new(shown(device), format!("{verb}:{}", device.0));
    devices.iter().take(MAX_BUTTONS).map(button).collect()
}
