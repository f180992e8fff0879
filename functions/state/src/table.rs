//! The table and the few requests that we make of it.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, KeysAndAttributes, Put as TransactPut, ReturnValue,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::Error;
use crate::item::{self, Attributes, Item as _};
use crate::key::Key;

/// `BatchGetItem` takes at most 100 keys.
const KEYS_PER_REQUEST: usize = 100;
/// Requests under way at once. More gain nothing: a batch touches a few hundred items of different partition keys.
pub(crate) const CONCURRENCY: usize = 16;

/// The table `state`, on AWS, embedded, or at any endpoint.
#[derive(Debug, Clone)]
pub struct Table {
    client: Client,
    name: String,
}

/// What became of a conditional write.
pub(crate) enum Put {
    Written,
    /// The condition did not hold. The item as it is, or `None` if there is none.
    Refused(Option<Attributes>),
}

/// What a conditional write expects to find.
pub(crate) enum Expect {
    /// No item.
    Nothing,
    /// An item whose attribute is this number.
    Number(&'static str, i64),
}

impl Expect {
    fn condition(&self) -> &'static str {
        match self {
            Self::Nothing => "attribute_not_exists(pk)",
            Self::Number(..) => "#attribute = :value",
        }
    }

    fn names(&self) -> Option<HashMap<String, String>> {
        let Self::Number(attribute, _) = self else { return None };
        Some(HashMap::from([("#attribute".to_owned(), (*attribute).to_owned())]))
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        let Self::Number(_, value) = self else { return None };
        Some(HashMap::from([(":value".to_owned(), item::number(value))]))
    }
}

/// What became of a transaction.
pub(crate) enum Transaction {
    Written,
    /// For each write in its order: what it found, if it was its condition that did not hold.
    Refused(Vec<Option<Found>>),
}

/// The item that a condition did not hold for, or `None` if there is none.
pub(crate) type Found = Option<Attributes>;

/// A change of some attributes of an item, on a condition.
pub(crate) struct Update<'a> {
    pub(crate) key: &'a Key,
    /// `SET …`, `REMOVE …`, as DynamoDB has it.
    pub(crate) expression: &'a str,
    pub(crate) condition: &'a str,
    /// For the names with `#` in both.
    pub(crate) names: &'a [(&'a str, &'a str)],
    /// For the values with `:` in both.
    pub(crate) values: Vec<(&'a str, AttributeValue)>,
}

impl Table {
    /// The table of this name. Nothing is asked of it yet.
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }

    /// The table of this name where the configuration says.
    #[must_use]
    pub fn connect(config: &aws_config::SdkConfig, name: impl Into<String>) -> Self {
        Self::new(Client::new(config), name)
    }

    pub(crate) fn failed<E: std::error::Error + Send + Sync + 'static>(
        &self,
        operation: &'static str,
    ) -> impl FnOnce(E) -> Error {
        let table = self.name.clone();
        move |source| Error::Request { operation, table, source: Box::new(source) }
    }

    /// The item, as of now (a strongly consistent read).
    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Attributes>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(item::with_key(key)))
            .consistent_read(true)
            .send()
            .await
            .map_err(self.failed("GetItem"))?;
        Ok(answer.item)
    }

    /// The items of these keys that exist. `consistent` reads cost twice as much and are never stale.
    pub(crate) async fn batch_get(
        &self,
        keys: &[&Key],
        consistent: bool,
    ) -> Result<HashMap<Key, Attributes>, Error> {
        let requests: Vec<_> =
            keys.chunks(KEYS_PER_REQUEST).map(|keys| self.batch_get_some(keys, consistent)).collect();
        let parts: Vec<Vec<Attributes>> =
            futures::stream::iter(requests).buffered(CONCURRENCY).try_collect().await?;
        parts
            .into_iter()
            .flatten()
            .map(|item| Ok((Key { pk: item.text("pk")?.to_owned(), sk: item.text("sk")?.to_owned() }, item)))
            .collect()
    }

    async fn batch_get_some(&self, keys: &[&Key], consistent: bool) -> Result<Vec<Attributes>, Error> {
        let mut items = Vec::with_capacity(keys.len());
        let mut wanted = Some(self.wanted(keys.iter().map(|key| item::with_key(key)).collect(), consistent)?);
        let mut pause = Backoff::default();
        while let Some(request) = wanted.take() {
            let answer = self
                .client
                .batch_get_item()
                .request_items(&self.name, request)
                .send()
                .await
                .map_err(self.failed("BatchGetItem"))?;
            items.extend(answer.responses.into_iter().flatten().flat_map(|(_table, items)| items));
            // What did not fit into 16 MB, or was throttled, comes back to be asked again.
            wanted = answer.unprocessed_keys.and_then(|mut tables| tables.remove(&self.name));
            if wanted.is_some() && !pause.wait().await {
                return Err(Error::Request {
                    operation: "BatchGetItem",
                    table: self.name.clone(),
                    source: "it left keys unprocessed, again and again".into(),
                });
            }
        }
        Ok(items)
    }

    fn wanted(&self, keys: Vec<Attributes>, consistent: bool) -> Result<KeysAndAttributes, Error> {
        KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(consistent)
            .build()
            .map_err(self.failed("BatchGetItem"))
    }

    /// Writes the item if the table holds what is expected under its key.
    pub(crate) async fn put(&self, item: Attributes, expect: &Expect) -> Result<Put, Error> {
        let request = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = request
            .condition_expression(expect.condition())
            .set_expression_attribute_names(expect.names())
            .set_expression_attribute_values(expect.values());
        match request.send().await {
            Ok(_) => Ok(Put::Written),
            Err(SdkError::ServiceError(answer))
                if matches!(answer.err(), PutItemError::ConditionalCheckFailedException(_)) =>
            {
                match answer.into_err() {
                    PutItemError::ConditionalCheckFailedException(refusal) => Ok(Put::Refused(refusal.item)),
                    other => Err(self.failed("PutItem")(other)),
                }
            }
            Err(other) => Err(self.failed("PutItem")(other)),
        }
    }

    /// Writes all items if the table holds for each what is expected under its key, or none. At most 100 (a limit of DynamoDB).
    pub(crate) async fn transact(&self, writes: Vec<(Attributes, Expect)>) -> Result<Transaction, Error> {
        let mut actions = Vec::with_capacity(writes.len());
        for (item, expect) in writes {
            let put = TransactPut::builder()
                .table_name(&self.name)
                .set_item(Some(item))
                .condition_expression(expect.condition())
                .set_expression_attribute_names(expect.names())
                .set_expression_attribute_values(expect.values())
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .build()
                .map_err(self.failed("TransactWriteItems"))?;
            actions.push(TransactWriteItem::builder().put(put).build());
        }
        let answer = self.client.transact_write_items().set_transact_items(Some(actions)).send().await;
        match answer {
            Ok(_) => Ok(Transaction::Written),
            Err(SdkError::ServiceError(answer)) => match answer.into_err() {
                TransactWriteItemsError::TransactionCanceledException(refusal)
                    if refusal.cancellation_reasons().iter().any(is_condition) =>
                {
                    let found = |reason: CancellationReason| is_condition(&reason).then_some(reason.item);
                    let reasons = refusal.cancellation_reasons.unwrap_or_default();
                    Ok(Transaction::Refused(reasons.into_iter().map(found).collect()))
                }
                // others wrote one of the items at the same moment: as good as a refusal that shows nothing
                TransactWriteItemsError::TransactionCanceledException(refusal)
                    if refusal
                        .cancellation_reasons()
                        .iter()
                        .any(|reason| reason.code() == Some("TransactionConflict")) =>
                {
                    Ok(Transaction::Refused(Vec::new()))
                }
                other => Err(self.failed("TransactWriteItems")(other)),
            },
            Err(other) => Err(self.failed("TransactWriteItems")(other)),
        }
    }

    /// Changes attributes of an item if its condition holds. The item as it is then; `None` when the condition did not hold.
    pub(crate) async fn update(&self, update: Update<'_>) -> Result<Option<Attributes>, Error> {
        let mut request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(item::with_key(update.key)))
            .update_expression(update.expression)
            .condition_expression(update.condition)
            .return_values(ReturnValue::AllNew);
        for (name, attribute) in update.names {
            request = request.expression_attribute_names(*name, *attribute);
        }
        for (name, value) in update.values {
            request = request.expression_attribute_values(name, value);
        }
        match request.send().await {
            Ok(answer) => Ok(answer.attributes),
            Err(SdkError::ServiceError(answer)) if answer.err().is_conditional_check_failed_exception() => {
                Ok(None)
            }
            Err(other) => Err(self.failed("UpdateItem")(other)),
        }
    }

    /// Deletes an item, if it is there.
    pub(crate) async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(item::with_key(key)))
            .send()
            .await
            .map_err(self.failed("DeleteItem"))?;
        Ok(())
    }

    /// Writes the item, whatever was there.
    pub(crate) async fn overwrite(&self, item: Attributes) -> Result<(), Error> {
        self.client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .send()
            .await
            .map_err(self.failed("PutItem"))?;
        Ok(())
    }

    /// Deletes the item if its attribute is below the limit.
    pub(crate) async fn delete_below(
        &self,
        key: &Key,
        attribute: &'static str,
        limit: i64,
    ) -> Result<bool, Error> {
        let answer = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(item::with_key(key)))
            .condition_expression("#attribute < :limit")
            .expression_attribute_names("#attribute", attribute)
            .expression_attribute_values(":limit", item::number(limit))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(answer)) if answer.err().is_conditional_check_failed_exception() => {
                Ok(false)
            }
            Err(other) => Err(self.failed("DeleteItem")(other)),
        }
    }

    /// All items of a partition key whose sort key is not before `from`, as of now.
    pub(crate) async fn query(&self, pk: &str, from: &str) -> Result<Vec<Attributes>, Error> {
        self.query_where("pk = :pk AND sk >= :sk", pk, from).await
    }

    /// All items of a partition key whose sort key begins with `prefix`, as of now.
    pub(crate) async fn query_prefix(&self, pk: &str, prefix: &str) -> Result<Vec<Attributes>, Error> {
        self.query_where("pk = :pk AND begins_with(sk, :sk)", pk, prefix).await
    }

    /// The first items of a partition key whose sort key begins with `prefix`, at most so many.
    pub(crate) async fn query_some(
        &self,
        pk: &str,
        prefix: &str,
        limit: i32,
    ) -> Result<Vec<Attributes>, Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .limit(limit)
            .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
            .expression_attribute_values(":pk", item::text(pk))
            .expression_attribute_values(":sk", item::text(prefix))
            .send()
            .await
            .map_err(self.failed("Query"))?;
        Ok(answer.items.unwrap_or_default())
    }

    async fn query_where(&self, condition: &str, pk: &str, sk: &str) -> Result<Vec<Attributes>, Error> {
        self.client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .key_condition_expression(condition)
            .expression_attribute_values(":pk", item::text(pk))
            .expression_attribute_values(":sk", item::text(sk))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(self.failed("Query"))
    }

    /// A page of all items, and the key after which the next page begins.
    pub(crate) async fn scan(&self, after: Option<&Key>) -> Result<(Vec<Attributes>, Option<Key>), Error> {
        let answer = self
            .client
            .scan()
            .table_name(&self.name)
            .consistent_read(true)
            .set_exclusive_start_key(after.map(item::with_key))
            .send()
            .await
            .map_err(self.failed("Scan"))?;
        let next = match answer.last_evaluated_key {
            Some(last) => Some(Key { pk: last.text("pk")?.to_owned(), sk: last.text("sk")?.to_owned() }),
            None => None,
        };
        Ok((answer.items.unwrap_or_default(), next))
    }

    /// A page of an index, newest first: the items' keys, from below the given sort key.
    pub(crate) async fn query_index(
        &self,
        index: &str,
        hash: (&str, &str),
        range: &str,
        below: Option<&str>,
        limit: i32,
    ) -> Result<Vec<Attributes>, Error> {
        let request = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(index)
            .scan_index_forward(false)
            .limit(limit)
            .expression_attribute_names("#hash", hash.0)
            .expression_attribute_values(":hash", item::text(hash.1));
        let request = match below {
            None => request.key_condition_expression("#hash = :hash"),
            Some(below) => request
                .key_condition_expression("#hash = :hash AND #range < :below")
                .expression_attribute_names("#range", range)
                .expression_attribute_values(":below", item::text(below)),
        };
        Ok(request.send().await.map_err(self.failed("Query"))?.items.unwrap_or_default())
    }

    /// The entries of an index under one partition key, in the order of their sort keys: at most `limit`, and whether there are more.
    pub(crate) async fn query_entries(
        &self,
        index: &str,
        hash: (&str, &str),
        limit: usize,
    ) -> Result<(Vec<Attributes>, bool), Error> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(index)
            .key_condition_expression("#hash = :hash")
            .expression_attribute_names("#hash", hash.0)
            .expression_attribute_values(":hash", item::text(hash.1))
            .into_paginator()
            .items()
            .send();
        let mut entries = Vec::new();
        while let Some(entry) = pages.try_next().await.map_err(self.failed("Query"))? {
            if entries.len() >= limit {
                return Ok((entries, true));
            }
            entries.push(entry);
        }
        Ok((entries, false))
    }

    /// The keys of the first items in index `due` whose time has come, those longest due first.
    pub(crate) async fn query_due(&self, due_in: &str, through: &str, limit: i32) -> Result<Vec<Key>, Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(crate::key::DUE)
            .limit(limit)
            .key_condition_expression("due_in = :due_in AND due <= :through")
            .expression_attribute_values(":due_in", item::text(due_in))
            .expression_attribute_values(":through", item::text(through))
            .send()
            .await
            .map_err(self.failed("Query"))?;
        answer
            .items
            .unwrap_or_default()
            .iter()
            .map(|item| Ok(Key { pk: item.text("pk")?.to_owned(), sk: item.text("sk")?.to_owned() }))
            .collect()
    }
}

fn is_condition(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Growing pauses with jitter between attempts, so that two who fight for an item part ways. Bounded.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub(crate) const ATTEMPTS: u32 = 10;

    /// Waits; `false` when there were enough attempts.
    pub(crate) async fn wait(&mut self) -> bool {
        self.attempts += 1;
        if self.attempts >= Self::ATTEMPTS {
            return false;
        }
        let ceiling_ms = 5_u64 << self.attempts.min(7);
        tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(0..ceiling_ms))).await;
        true
    }
}
