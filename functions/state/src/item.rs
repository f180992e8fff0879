//! An item's attributes, typed.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::error::Error;
use crate::key::{IndexKey, Key};

/// An item as the SDK has it.
pub(crate) type Attributes = HashMap<String, AttributeValue>;

/// When an item may be deleted, in seconds since 1970: the table's TTL attribute.
const EXPIRES: &str = "expires";

/// The item of a key, to be filled.
pub(crate) fn with_key(key: &Key) -> Attributes {
    HashMap::from([("pk".to_owned(), text(&key.pk)), ("sk".to_owned(), text(&key.sk))])
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Reading and writing attributes by name.
pub(crate) trait Item {
    fn put(&mut self, name: &str, value: AttributeValue);
    fn put_index(&mut self, index: Option<IndexKey>);
    fn put_expiry(&mut self, expires_ms: Option<i64>);
    fn text(&self, name: &str) -> Result<&str, Error>;
    fn optional_text(&self, name: &str) -> Option<&str>;
    fn number<N: std::str::FromStr>(&self, name: &str) -> Result<N, Error>;
    fn optional_number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, Error>;
    fn unreadable(&self, attribute: &str) -> Error;
    fn expiry_ms(&self) -> Option<i64>;
    fn is_expired(&self, now_ms: i64) -> bool;
}

impl Item for Attributes {
    fn put(&mut self, name: &str, value: AttributeValue) {
        self.insert(name.to_owned(), value);
    }

    fn put_index(&mut self, index: Option<IndexKey>) {
        for (name, value) in index.into_iter().flat_map(|index| [index.hash, index.range]) {
            self.put(name, text(value));
        }
    }

    fn put_expiry(&mut self, expires_ms: Option<i64>) {
        if let Some(expires) = expires_ms {
            self.put(EXPIRES, number(expires.div_euclid(1000)));
        }
    }

    fn text(&self, name: &str) -> Result<&str, Error> {
        self.optional_text(name).ok_or_else(|| self.unreadable(name))
    }

    fn optional_text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| value.as_s().ok()).map(String::as_str)
    }

    fn number<N: std::str::FromStr>(&self, name: &str) -> Result<N, Error> {
        self.optional_number(name)?.ok_or_else(|| self.unreadable(name))
    }

    fn optional_number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, Error> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let digits = value.as_n().map_err(|_other_type| self.unreadable(name))?;
        digits.parse().map(Some).map_err(|_no_such_number| self.unreadable(name))
    }

    fn unreadable(&self, attribute: &str) -> Error {
        let part = |name| self.optional_text(name).unwrap_or("?").to_owned();
        Error::Unreadable { pk: part("pk"), sk: part("sk"), attribute: attribute.to_owned() }
    }

    /// DynamoDB deletes expired items days late: until then whoever reads them has to look.
    fn is_expired(&self, now_ms: i64) -> bool {
        self.expiry_ms().is_some_and(|expires| expires <= now_ms)
    }

    fn expiry_ms(&self) -> Option<i64> {
        let expires = self.optional_number::<i64>(EXPIRES).ok()??;
        Some(expires.saturating_mul(1000))
    }
}
