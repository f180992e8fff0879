//! `probegram webhook`: whether Telegram posts a stack's updates to it, and with which secret token.
//!
//! The token is made here, told to Telegram, and kept nowhere: the stack knows its SHA-256. While it changes the stack knows two, so
//! that an update is let in whichever of them Telegram says.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use aws_config::SdkConfig;
use capture_agent::doctor::{Finding, tell};
use domain::watchdog::span;
use jiff::tz::TimeZone;
use runtime::secret::{Place, Secret};
use runtime::zoned::for_people;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use state::chats;
use telegram::Client;
use telegram::client::{ALLOWED_UPDATES, WebhookInfo};

use crate::cli::{DeleteWebhook, OfStack, Webhook};
use crate::said::say;
use crate::stack::Stack;
use crate::{long_polling, owner_code, remote_table};

/// The stack's parameter with the SHA-256 of the tokens that are let in.
const SECRETS: &str = "WebhookSecretSha256";
/// Bytes of a token: 43 letters of base64, as many as nobody guesses.
const TOKEN_BYTES: usize = 32;
/// How many updates may be on their way at the same time: less than the template sets aside for the function, so that something is
/// left for the JSON interface.
const MAX_CONNECTIONS: u8 = 8;
/// So many updates wait when somebody has just written, and nothing is wrong.
const FEW_UPDATES: u64 = 20;
/// What went wrong so long ago, and was delivered since, is over, in milliseconds.
const OVER_AFTER_MS: i64 = 10 * 60 * 1000;

/// Sets, checks or deletes.
///
/// # Errors
/// When AWS or Telegram cannot be asked, or refuses.
pub async fn run(options: Webhook) -> anyhow::Result<ExitCode> {
    match options {
        Webhook::Set(OfStack { stack }) => set(&Stack::find(&stack).await?).await,
        Webhook::Check(OfStack { stack }) => check(&Stack::find(&stack).await?).await,
        Webhook::Delete(DeleteWebhook { stack, drop_pending }) => {
            delete(&Stack::find(&stack.stack).await?, drop_pending).await
        }
    }
}

async fn set(stack: &Stack) -> anyhow::Result<ExitCode> {
    let bot = bot(stack).await?;
    let name = bot.user_name().await?;
    let url = stack.output("WebhookUrl")?;
    let known = stack.parameter(SECRETS).unwrap_or_default();
    let token = new_token()?;
    let new = sha256(&token);
    let meanwhile = while_it_changes(&new, known);
    say(&format!("The stack {} learns by what it knows Telegram; that takes a minute.\n", stack.name()))?;
    stack.update(&[(SECRETS, &meanwhile)]).await?;
    let webhook = telegram::client::Webhook { url, secret_token: &token, max_connections: MAX_CONNECTIONS };
    let again = || format!("type `probegram webhook set --stack {}` again", stack.name());
    bot.set_webhook(&webhook)
        .await
        .with_context(|| format!("the webhook is not set; what was mended {}", again()))?;
    say(&format!("Telegram posts what is written to @{name} to {url}\n"))?;
    if meanwhile != new {
        say("The stack forgets the secret token that was before.\n")?;
        stack.update(&[(SECRETS, &new)]).await.with_context(|| {
            format!("the secret token that was before is let in still; {} when that is mended", again())
        })?;
    }
    let table = remote_table::of_stack(stack)?;
    let chats = chats::all(&table).await?;
    long_polling::set_commands_of(&bot, &chats).await;
    // as it is now: what is known of the stack is from before it was changed
    let is_well = report(&look(&Stack::find(stack.name()).await?, &bot).await?)?;
    if !owner_code::is_owned(&chats) {
        let another = format!("`probegram owner-code --stack {}` prints another", stack.name());
        owner_code::print(&table, &bot, &another).await?;
    }
    Ok(code(is_well))
}

async fn check(stack: &Stack) -> anyhow::Result<ExitCode> {
    let is_well = report(&look(stack, &bot(stack).await?).await?)?;
    Ok(code(is_well))
}

async fn delete(stack: &Stack, drop_pending: bool) -> anyhow::Result<ExitCode> {
    let bot = bot(stack).await?;
    let name = bot.user_name().await?;
    bot.delete_webhook(drop_pending).await?;
    let pending = match drop_pending {
        true => "What waited is dropped.",
        false => "What waits stays, for a day at most.",
    };
    say(&format!(
        "Telegram posts what is written to @{name} nowhere any more. {pending}\n\
         Another program can fetch it now, such as `probegram local`; `probegram webhook set --stack {}` sets the webhook again.\n",
        stack.name()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The stack's bot.
///
/// # Errors
/// When its token cannot be read, or the address of the Bot API is none.
pub(crate) async fn bot(stack: &Stack) -> anyhow::Result<Client> {
    let token = token_of_bot(stack.config(), stack.output("TelegramSecretArn")?).await?;
    Ok(Client::new(stack.parameter("TelegramApiUrl").unwrap_or(telegram::client::API_URL), token)?)
}

async fn token_of_bot(config: &SdkConfig, arn: &str) -> anyhow::Result<SecretString> {
    let secret = Secret::at(Place::SecretsManager(arn.to_owned()), Some(config.clone()));
    Ok(secret.read().await?.clone())
}

/// What Telegram says of the stack's webhook.
///
/// # Errors
/// When it says nothing.
pub(crate) async fn look(stack: &Stack, bot: &Client) -> anyhow::Result<Vec<Finding>> {
    let info = bot.webhook_info().await?;
    let region = stack.config().region().map(ToString::to_string).unwrap_or_default();
    let expected = Expected {
        stack: stack.name(),
        url: stack.output("WebhookUrl")?,
        log: stack.resource("BotLogGroup").unwrap_or("/aws/lambda/BotFunction"),
        region: &region,
    };
    let mut findings = explain(&info, &expected, runtime::clock::now_ms(), &TimeZone::system());
    findings.extend(of_hashes(stack.parameter(SECRETS).unwrap_or_default(), stack.name()));
    Ok(findings)
}

/// What is odd about the hashes that the stack knows.
fn of_hashes(known: &str, stack: &str) -> Option<Finding> {
    let set_again = format!("probegram webhook set --stack {stack}");
    match hashes(known).count() {
        0 => Some(Finding::bad("The stack knows no secret token: it lets nobody in.", set_again)),
        1 => None,
        _ => Some(Finding::Note(format!(
            "The stack lets in two secret tokens: a change of them was interrupted. `{set_again}` ends it."
        ))),
    }
}

/// What should be so.
struct Expected<'a> {
    stack: &'a str,
    url: &'a str,
    /// The log group of the function behind it.
    log: &'a str,
    region: &'a str,
}

fn explain(info: &WebhookInfo, expected: &Expected<'_>, now_ms: i64, zone: &TimeZone) -> Vec<Finding> {
    let Expected { stack, url, .. } = expected;
    let set_again = format!("probegram webhook set --stack {stack}");
    let pending = info.pending_update_count;
    let waiting = match pending {
        0 => String::new(),
        1 => " 1 update waits.".to_owned(),
        _ => format!(" {pending} updates wait."),
    };
    let mut findings = Vec::new();
    if info.url.is_empty() {
        let what = format!("No webhook is set: Telegram posts updates nowhere.{waiting}");
        return vec![Finding::bad(what, set_again)];
    }
    if info.url != *url {
        let what =
            format!("Telegram posts updates to {}, and not to {url}.{waiting}", without_query(&info.url));
        findings.push(Finding::bad(what, format!("{set_again}   (if this stack is to have the bot)")));
        return findings;
    }
    findings.push(Finding::Good(format!("Telegram posts updates to {url}.")));
    let missing: Vec<&str> = ALLOWED_UPDATES
        .into_iter()
        .filter(|kind| !info.allowed_updates.iter().any(|allowed| allowed == kind))
        .collect();
    // without a list Telegram posts these too
    if !info.allowed_updates.is_empty() && !missing.is_empty() {
        let what = format!("Telegram does not post updates of kind {}.", missing.join(", "));
        findings.push(Finding::bad(what, set_again));
    }
    if let Some(seconds) = info.last_error_date {
        let at_ms = seconds.saturating_mul(1000);
        let why = info.last_error_message.as_deref().unwrap_or("no reason is given").trim_end_matches('.');
        let (at, ago) = (for_people(at_ms, zone), span(now_ms.saturating_sub(at_ms)));
        let what = format!("An update could not be delivered at {at} ({ago} ago): {why}.{waiting}");
        if pending > 0 || now_ms.saturating_sub(at_ms) < OVER_AFTER_MS {
            findings.push(Finding::bad(what, mend(why, expected)));
        } else {
            findings.push(Finding::Note(format!("{what} Nothing waits any more, so that is over.")));
        }
    } else if pending > FEW_UPDATES {
        let what = format!("{pending} updates wait, and Telegram does not say why.");
        findings.push(Finding::bad(what, log_of(expected)));
    } else if pending > 0 {
        findings.push(Finding::Note(format!("{} Look again: they should be gone.", waiting.trim_start())));
    }
    findings
}

/// What to do about an error, in Telegram's words.
fn mend(why: &str, expected: &Expected<'_>) -> String {
    let Expected { stack, .. } = expected;
    let status = why.split_once("Wrong response from the webhook: ").and_then(|(_, status)| status.get(..3));
    let words = why.to_ascii_lowercase();
    match status.and_then(|status| status.parse().ok()) {
        Some(401) => format!(
            "probegram webhook set --stack {stack}   (the secret token that Telegram says is not the one that the stack knows)"
        ),
        Some(403 | 404) => {
            "sam build && sam deploy   (the address is there, and the route POST /telegram behind it is not)".to_owned()
        }
        Some(429) => "nothing: more is written than the stack takes at a time, and Telegram tries again".to_owned(),
        Some(500_u16..=599) => {
            format!("{}   (the function failed, took too long, or ran too often at the same time)", log_of(expected))
        }
        Some(_) => log_of(expected),
        None if words.contains("ssl") || words.contains("certificate") => {
            "see that the address is the stack's own, https://….execute-api.….amazonaws.com: AWS keeps its certificate".to_owned()
        }
        None if words.contains("timed out") || words.contains("timeout") => {
            format!("{}   (no answer came in time)", log_of(expected))
        }
        None if words.contains("resolve") || words.contains("connect") => format!(
            "curl -i -X POST {}   (401 is what a stranger gets: then Telegram could not reach AWS, and will; look again)",
            expected.url
        ),
        None => log_of(expected),
    }
}

fn log_of(expected: &Expected<'_>) -> String {
    format!("aws logs tail {} --since 1h --region {}", expected.log, expected.region)
}

/// An address that somebody else has set may have a secret behind its path.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// What the stack is to know while Telegram goes over to a new token. An interrupted change has left two: of these it keeps the last, as
/// Telegram says that one unless it was told the first at the very end.
fn while_it_changes(new: &str, known: &str) -> String {
    match hashes(known).next_back() {
        Some(old) => format!("{new},{old}"),
        None => new.to_owned(),
    }
}

/// The hashes in the stack's parameter, without what stands there before there are any.
fn hashes(known: &str) -> impl DoubleEndedIterator<Item = &str> {
    known.split(',').map(str::trim).filter(|hash| hash.bytes().any(|digit| digit != b'0'))
}

/// A secret token of `A-Z a-z 0-9 _ -`.
fn new_token() -> anyhow::Result<SecretString> {
    let mut bytes = [0; TOKEN_BYTES];
    if let Err(error) = getrandom::fill(&mut bytes) {
        bail!("the system gives no random numbers: {error}");
    }
    Ok(SecretString::from(base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)))
}

fn sha256(token: &SecretString) -> String {
    Sha256::digest(token.expose_secret()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn report(findings: &[Finding]) -> anyhow::Result<bool> {
    let mut stdout = std::io::stdout();
    let is_well = tell(findings, &mut stdout)?;
    stdout.flush()?;
    Ok(is_well)
}

fn code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_587_225_867_000;
    const URL: &str = "https://bot.example/telegram";

    fn info() -> WebhookInfo {
        WebhookInfo {
            url: URL.to_owned(),
            pending_update_count: 0,
            last_error_date: None,
            last_error_message: None,
            max_connections: Some(8),
            allowed_updates: ALLOWED_UPDATES.map(str::to_owned).to_vec(),
        }
    }

    fn told(info: &WebhookInfo) -> (bool, String) {
        let expected = Expected { stack: "home", url: URL, log: "home-bot", region: "eu-west-2" };
        let mut text = Vec::new();
        let is_well = tell(&explain(info, &expected, NOW_MS, &TimeZone::UTC), &mut text).unwrap();
        (is_well, String::from_utf8(text).unwrap())
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        let (is_well, text) = told(&info());
        assert!(is_well, "{text}");
        assert_eq!(text, format!("✅ Telegram posts updates to {URL}.\n"));

        let failed = |why: &str| WebhookInfo {
            pending_update_count: 2,
            last_error_date: Some(NOW_MS / 1000 - 60),
            last_error_message: Some(why.to_owned()),
            ..info()
        };
        let status = |status: &str| failed(&format!("Wrong response from the webhook: {status}"));
        for (info, words) in [
            (WebhookInfo { url: String::new(), ..info() }, "→ probegram webhook set --stack home"),
            (
                WebhookInfo { url: "https://other.example/?token=s".to_owned(), ..info() },
                "https://other.example/, and not",
            ),
            (
                WebhookInfo { allowed_updates: vec!["message".to_owned()], ..info() },
                "callback_query, my_chat_member",
            ),
            (WebhookInfo { pending_update_count: 21, ..info() }, "21 updates wait"),
            (status("401 Unauthorized"), "→ probegram webhook set --stack home"),
            (
                status("401 Unauthorized"),
                "at 2020-04-18 16:03:27 UTC (60 s ago): Wrong response from the webhook: 401 Unauthorized. 2 updates wait.",
            ),
            (status("404 Not Found"), "→ sam build && sam deploy"),
            (status("429 Too Many Requests"), "→ nothing"),
            (status("502 Bad Gateway"), "→ aws logs tail home-bot --since 1h --region eu-west-2"),
            (failed("Read timeout expired"), "no answer came in time"),
            (failed("Connection refused"), "→ curl -i -X POST https://bot.example/telegram"),
            (failed("SSL error {error:0A000086:SSL routines::certificate verify failed}"), "certificate"),
            (failed("something new"), "→ aws logs tail home-bot"),
        ] {
            let (is_well, text) = told(&info);
            assert!(!is_well && text.contains(words), "{words}: {text}");
        }
        let delivered_since = WebhookInfo {
            pending_update_count: 0,
            last_error_date: Some((NOW_MS - OVER_AFTER_MS) / 1000),
            ..status("502 Bad Gateway")
        };
        let (is_well, text) = told(&delivered_since);
        assert!(is_well && text.contains("that is over"), "{text}");
    }

    #[test]
    fn while_the_token_changes_the_one_before_is_let_in() {
        let (none, old, older) = ("0".repeat(64), "a".repeat(64), "b".repeat(64));
        assert_eq!(while_it_changes("new", ""), "new");
        assert_eq!(while_it_changes("new", &none), "new");
        assert_eq!(while_it_changes("new", &old), format!("new,{old}"));
        assert_eq!(while_it_changes("new", &format!("{old},{older}")), format!("new,{older}"));
    }

    #[test]
    fn tokens_are_of_the_letters_that_telegram_takes_and_differ() {
        let (one, another) = (new_token().unwrap(), new_token().unwrap());
        let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-';
        assert!(one.expose_secret().len() >= 43 && one.expose_secret().bytes().all(is_plain));
        assert_ne!(one.expose_secret(), another.expose_secret());
        // printf %s secret | sha256sum
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(sha256(&SecretString::from("secret")), hash);
    }
}
