//! Who may ask: codes that let a chat in, and what owners do about chats.

use state::chats::{self, Chat, Role};
use state::{codes, hooks};
use telegram::{Text, limit};

use crate::asking::Asking;
use crate::context::Context;
use crate::error::Error;
use crate::reply::{self, Reply};
use crate::watch_command::with_plain_minus;
use crate::watching::{button, keyboard};
use crate::{courtesy, report};

/// The verb of the buttons below the list.
pub(crate) const DISALLOW: &str = "disallow";
/// The most buttons below a list.
const MAX_BUTTONS: usize = 40;

/// The code in `/start CODE`, as a link to the bot sends it (`t.me/bot?start=CODE`), in groups `/start@bot CODE`.
pub(crate) fn code(text: &str) -> Option<&str> {
    let (command, code) = text.trim().split_once(char::is_whitespace)?;
    let name = command.strip_prefix('/')?.split('@').next()?;
    name.eq_ignore_ascii_case("start").then_some(code.trim())
}

/// Lets a chat in that names a code, if the code is good.
pub(crate) async fn claim(
    code: &str,
    chat: &telegram::update::Chat,
    context: &Context,
) -> Result<Option<Reply>, Error> {
    let now_ms = (context.now_ms)();
    let Some(role) = codes::redeem(&context.table, code, chat.id, now_ms).await? else { return Ok(None) };
    chats::allow(&context.table, chat.id, role, chat.title.as_deref(), now_ms).await?;
    codes::end(&context.table, code).await?;
    courtesy::offer_commands(context, chat.id, role).await;
    tracing::info!(chat = chat.id, %role, "a chat was let in by a code");
    Ok(Some(welcome(role, chat.is_private())))
}

fn welcome(role: Role, is_private: bool) -> Reply {
    let who = if is_private { "You are" } else { "This group is" };
    let as_what = match role {
        Role::Owner => "an owner of this bot now, and may let others in: /invite.",
        Role::Member => "let in: I answer here now.",
    };
    let in_groups = if is_private {
        ""
    } else {
        "\n\nIn groups I see commands only (that is Telegram's privacy mode), so ask me with /device MAC. Everybody in this group \
         may ask, and does so in the group's role."
    };
    format!("👋 {who} {as_what} /help says what you can ask.{in_groups}").into()
}

/// `/start CODE` in a chat that is let in already: a member may become an owner by it.
pub(crate) async fn start(code: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let Chat { id, role, .. } = asking.chat;
    // an owner gains nothing, and would use up a link that was made for somebody else
    if role < Role::Owner
        && let Some(given) = codes::redeem(asking.table(), code, id, asking.now_ms).await?
    {
        let role = given.max(role);
        chats::allow(asking.table(), id, role, None, asking.now_ms).await?;
        codes::end(asking.table(), code).await?;
        courtesy::offer_commands(asking.context, id, role).await;
        return Ok(welcome(role, asking.is_private));
    }
    Ok(reply::help(role).into())
}

/// `/allow ID [owner|member]`
pub(crate) async fn allow(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let (id, role) = asked.split_once(char::is_whitespace).unwrap_or((asked, "member"));
    let (Some(id), Some(role)) = (chat_id(id), role_of(role)) else {
        return Ok(reply::usage("/allow 4242424242 member").into());
    };
    if id == asking.chat.id {
        return Ok("🛎 This chat is let in already: another owner can change its role.".into());
    }
    chats::allow(asking.table(), id, role, None, asking.now_ms).await?;
    courtesy::offer_commands(asking.context, id, role).await;
    Ok(Text::new().plain("👋 Chat ").code(id.to_string()).plain(format!(" may ask now, as {role}.")).into())
}

/// `/disallow ID`
pub(crate) async fn disallow(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let Some(id) = chat_id(asked) else { return Ok(reply::usage("/disallow 4242424242").into()) };
    if id == asking.chat.id {
        return Ok(NOT_ONESELF.into());
    }
    remove(asking, id).await?;
    Ok(Text::new().plain("🚪 Chat ").code(id.to_string()).plain(" may not ask any more.").into())
}

pub(crate) const NOT_ONESELF: &str = "🛎 You cannot lock yourself out: another owner can.";

/// Lets a chat out, with its watches and webhooks.
pub(crate) async fn remove(asking: &Asking<'_>, id: i64) -> Result<(), Error> {
    for hook in hooks::all(asking.table()).await?.iter().filter(|hook| hook.chat == id) {
        hooks::remove(asking.table(), &hook.id).await?;
    }
    chats::disallow(asking.table(), id).await?;
    courtesy::take_commands(asking.context, id).await;
    Ok(())
}

/// `/chats`
pub(crate) async fn chats(asking: &Asking<'_>) -> Result<Reply, Error> {
    let mut chats = chats::all(asking.table()).await?;
    chats.retain(|chat| chat.moved_to.is_none());
    let lines = chats.iter().map(|chat| line(chat, asking)).collect();
    let others = chats.iter().filter(|chat| chat.id != asking.chat.id);
    let buttons = others.take(MAX_BUTTONS).map(|chat| {
        let about = chat.title.clone().unwrap_or_else(|| chat.id.to_string());
        button("✖", &reply::echo(&about), format!("{DISALLOW}:{}", chat.id))
    });
    let tail = if chats.len() > MAX_BUTTONS { "\nThe others by /disallow ID" } else { "" };
    let head = format!("💬 {} may ask:", reply::count(chats.len(), "chat"));
    let text = reply::list(Text::from(head), lines, limit::units(tail)).plain(tail);
    Ok(Reply::with_keyboard(text, keyboard(buttons.collect())))
}

fn line(chat: &Chat, asking: &Asking<'_>) -> Text {
    let called = match &chat.title {
        Some(title) => format!("{} {}", chat.id, reply::echo(title)),
        None => chat.id.to_string(),
    };
    let here = if chat.id == asking.chat.id { ", this one" } else { "" };
    let mut text = Text::new().code(called).plain(format!(" : {}{here}", chat.role));
    if let Some((why, since)) = &chat.stopped {
        text = text.plain(format!(", {}", report::stopped(why, *since, asking)));
    }
    text
}

/// `/invite [owner]`
pub(crate) async fn invite(asked: &str, asking: &Asking<'_>) -> Result<Reply, Error> {
    let Some(role) = role_of(if asked.is_empty() { "member" } else { asked }) else {
        return Ok(reply::usage("/invite owner").into());
    };
    let code = codes::make(asking.table(), role, asking.now_ms).await?;
    let until = asking.moment(asking.now_ms.saturating_add(codes::VALID_MS));
    let mut text = Text::from(format!("🎟 This lets one chat in as {role}, once, until {until}."));
    if let Some(name) = courtesy::user_name(asking.context).await {
        text = text.plain(format!(
            "\nFor a person: https://t.me/{name}?start={code}\nFor a group: https://t.me/{name}?startgroup={code}"
        ));
    }
    Ok(text.plain("\nOr send me this in that chat: ").code(format!("/start {code}")).into())
}

fn chat_id(text: &str) -> Option<i64> {
    with_plain_minus(text).parse().ok().filter(|id| *id != 0)
}

fn role_of(name: &str) -> Option<Role> {
    [Role::Member, Role::Owner].into_iter().find(|role| name.trim().eq_ignore_ascii_case(&role.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_what_follows_start() {
        for (text, expected) in [
            ("/start abc", Some("abc")),
            (" /Start@probegram_bot  abc ", Some("abc")),
            ("/start", None),
            ("/started abc", None),
            ("start abc", None),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
        assert_eq!(
            (chat_id("–100123"), chat_id("42 "), chat_id("0"), chat_id("x")),
            (Some(-100_123), Some(42), None, None)
        );
    }
}
