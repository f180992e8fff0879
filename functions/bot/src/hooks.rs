//! Outgoing webhooks from the chat: where a chat's alerts go beside it. Their URLs are secrets and are never shown again.

use delivery::hook::{check_url, host_of};
use domain::Watch;
use secrecy::ExposeSecret as _;
use state::hooks::{self as list, Format, Hook};
use telegram::{Text, limit};

use crate::asking::Asking;
use crate::error::Error;
use crate::reply::{self, Reply};
use crate::report;
use crate::watching::{self, button, keyboard};

/// The most webhooks there are: each is called for every alert.
const MAX_HOOKS: usize = 20;
/// The verb of the buttons below the list.
pub(crate) const UNHOOK: &str = "unhook";

/// `/hook URL [json|slack|ntfy] [NAME of a watch]`
pub(crate) async fn hook(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    if !asking.is_private {
        return Ok("🛎 A webhook's URL is a secret: set it in a private chat with me.".into());
    }
    let (url, rest) = asked.split_once(char::is_whitespace).unwrap_or((asked, ""));
    let url = match check_url(url, asking.context.open_to_this_machine) {
        Ok(url) => url,
        Err(why) => return Ok(format!("🛎 {why}").into()),
    };
    let rest = rest.trim();
    let (format, name) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (format, name) = match Format::read(&format.to_lowercase()) {
        Some(format) => (format, name.trim()),
        None => (Format::Json, rest),
    };
    let watch = if name.is_empty() {
        None
    } else {
        match watching::find(name, &watching::of_chat(asking).await?) {
            Ok(found) => match found.into_iter().next() {
                Some(watch) => Some(watch),
                None => return Ok(reply::not_watched(name).into()),
            },
            Err(why) => return Ok(watching::not_read(&why)),
        }
    };
    if list::all(asking.table()).await?.len() >= MAX_HOOKS {
        return Ok(format!("🛎 There are at most {MAX_HOOKS} webhooks: /unhook one first.").into());
    }
    let id = watch.as_ref().map(Watch::id);
    let hook = list::make(asking.table(), asking.chat.id, id, url, format).await?;
    let mut text = Text::new()
        .plain("🪝 Webhook ")
        .code(&hook.id)
        .plain(" gets the alerts of this chat at ")
        .code(reply::echo(&host_of(&hook)))
        .plain(format!(" as {format}"));
    if let Some(watch) = &watch {
        text = text.plain(", of ").code(reply::name(&watch.pattern)).plain(" alone");
    }
    Ok(text
        .plain(".\nIts signing key, which I show only now: ")
        .code(hook.signing_key.expose_secret())
        .plain("\nThe URL is a secret: delete your message.")
        .into())
}

/// `/hooks`
pub(crate) async fn hooks(asking: &Asking<'_>) -> Result<Reply, Error> {
    let hooks = list::all(asking.table()).await?;
    if hooks.is_empty() {
        return Ok(Text::new()
            .plain("🪝 There is no webhook. Make one: ")
            .code("/hook https://example.com/alerts json")
            .into());
    }
    let watches = state::watches::all(asking.table()).await?;
    let lines: Vec<Text> = hooks.iter().map(|hook| line(hook, &watches, asking)).collect();
    let buttons = hooks
        .iter()
        .map(|hook| button("✖", &format!("{} {}", hook.id, host_of(hook)), format!("{UNHOOK}:{}", hook.id)));
    let text = Text::from(format!("🪝 {}:", reply::count(hooks.len(), "webhook")));
    Ok(Reply::with_keyboard(reply::list(text, lines, 0), keyboard(buttons.collect())))
}

fn line(hook: &Hook, watches: &[Watch], asking: &Asking<'_>) -> Text {
    let mut text = Text::new().code(format!("{} {}", hook.id, limit::cut(&host_of(hook), 100)));
    text = text.plain(format!(" : {}", hook.format));
    if hook.chat != asking.chat.id {
        text = text.plain(format!(", of chat {}", hook.chat));
    }
    if let Some(id) = hook.watch {
        text = match watches.iter().find(|watch| watch.id() == id) {
            Some(watch) => text.plain(", of ").code(reply::name(&watch.pattern)).plain(" alone"),
            None => text.plain(", of a watch that is not there any more"),
        };
    }
    match &hook.stopped {
        Some((why, since)) => text.plain(format!(", {}", report::stopped(why, *since, asking))),
        None => text,
    }
}

/// `/unhook ID`
pub(crate) async fn unhook(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    Ok(match list::is_id(asked) && list::remove(asking.table(), asked).await? {
        true => Text::new().plain("🪝 Webhook ").code(reply::echo(asked)).plain(" is removed.").into(),
        false => Text::new()
            .plain("🛎 There is no webhook ")
            .code(reply::echo(asked))
            .plain(". /hooks lists them.")
            .into(),
    })
}
