//! Codes that let a chat in, once: the first owner's, and those in invitations. Only their hashes are kept.

use sha2::{Digest as _, Sha256};

use crate::chats::Role;
use crate::error::Error;
use crate::item::{self, Item as _};
use crate::table::{Expect, Put, Table, Update};
use crate::{key, random};

/// How long a code works, in milliseconds.
pub const VALID_MS: i64 = 24 * 60 * 60 * 1000;
/// Letters and digits of a code: 62^22 is more than 2^128.
const LENGTH: usize = 22;

/// Makes a code that gives a role. It is told here, and nowhere again.
///
/// # Errors
/// When the table does not answer.
pub async fn make(table: &Table, role: Role, now_ms: i64) -> Result<String, Error> {
    loop {
        // who can guess a code reads everything
        let code = random::alphanumeric(LENGTH)?;
        let mut item = item::with_key(&key::code(&hash(&code)));
        role.write(&mut item);
        item.put("until", item::number(now_ms.saturating_add(VALID_MS)));
        item.put_expiry(Some(now_ms.saturating_add(VALID_MS)));
        if matches!(table.put(item, &Expect::Nothing).await?, Put::Written) {
            return Ok(code);
        }
    }
}

/// The role that a code gives to a chat. One that was used by another chat, or is too old, gives none; the same chat may use it
/// again, since it may have died half-way.
///
/// # Errors
/// When the table does not answer.
pub async fn redeem(table: &Table, code: &str, chat: i64, now_ms: i64) -> Result<Option<Role>, Error> {
    // what cannot be a code is not asked for
    if code.len() != LENGTH || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let update = Update {
        key: &key::code(&hash(code)),
        expression: "SET used_by = :chat",
        condition: "#until > :now AND (attribute_not_exists(used_by) OR used_by = :chat)",
        names: &[("#until", "until")],
        values: vec![(":chat", item::number(chat)), (":now", item::number(now_ms))],
    };
    table.update(update).await?.as_ref().map(Role::read).transpose()
}

/// Ends a code whose chat is let in: a chat that is let out later cannot come back by it.
///
/// # Errors
/// When the table does not answer: the code works for that chat until its time is over.
pub async fn end(table: &Table, code: &str) -> Result<(), Error> {
    table.delete(&key::code(&hash(code))).await
}

fn hash(code: &str) -> String {
    Sha256::digest(code.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
