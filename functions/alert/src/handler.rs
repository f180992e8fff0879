//! One invocation: a batch of Kafka records, or the schedule's call for what is due.

use delivery::{Delivered, Post, Telegram};
use jiff::tz::TimeZone;
use runtime::KafkaEvent;
use runtime::environment::{Environment, Incomplete};
use runtime::secret::Place as SecretPlace;
use runtime::zoned::ZoneName;
use serde::Deserialize;
use serde_json::value::RawValue;
use state::episodes::{self, Case};
use state::messages::{Destination, MessageId};
use state::progress::{Place, Tracker};
use state::{Source, Table};

use crate::error::Error;
use crate::event_source_mappings::EventSourceMappings;
use crate::sighted;
use crate::watch_list::WatchList;
use crate::watchdog::Watchdog;

/// The schedule's event is short; a batch of records is not read twice to see what it is.
const MAX_SCHEDULE_BYTES: usize = 4 * 1024;
/// What the function works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The table.
    pub table: Table,
    /// The consumer group of the event source mapping: whose progress is kept.
    pub group: String,
    /// What sends messages.
    pub post: Post,
    /// What looks at the sensors.
    pub watchdog: Watchdog,
    /// Records whose event is older than this are not told, in milliseconds.
    pub max_age_ms: i64,
    /// The present in milliseconds since 1970.
    pub now_ms: fn() -> i64,
}

/// What became of an invocation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that somebody watches for.
    pub matched: u64,
    /// Of these, too old to be told.
    pub too_old: u64,
    /// Messages that were made, one a destination of an episode that began.
    pub opened: u64,
    /// Messages of the watchdog that were made.
    pub noticed: u64,
    /// Event source mappings that are not enabled, or have a problem.
    pub mappings_in_trouble: u64,
    /// What went out.
    pub delivered: Delivered,
}

impl Context {
    /// How old a record may be, in hours, unless `MAX_AGE_HOURS` says otherwise.
    pub const MAX_AGE_HOURS: u32 = 24;

    /// The context that the function's environment describes: `TABLE_NAME`, `CONSUMER_GROUP`, `AGGREGATE_GROUP` (whose progress says what
    /// is counted), `TELEGRAM_SECRET` (name or ARN of the secret that is the bot's token), and if they are to differ from what is usual
    /// `TELEGRAM_API_URL`, `TIME_ZONE` (UTC), `MAX_AGE_HOURS` and `PCAP_TOPIC` (the topic whose offsets sensors tell). `WATCHED_FUNCTIONS` has the watchdog look at the event source mappings
    /// of these functions (with commas) and of this one, `INGEST_STALLED_AFTER_MINUTES` at how old the newest record is. The table is
    /// reached for only when that is complete.
    ///
    /// # Errors
    /// [`Incomplete`] names all variables that are missing or unreadable.
    pub async fn try_from_env(table: impl AsyncFnOnce(String) -> Table) -> Result<Self, Incomplete> {
        let mut environment = Environment::of_a_function();
        let name = environment.required("TABLE_NAME");
        let group = environment.required("CONSUMER_GROUP");
        let aggregate_group = environment.required("AGGREGATE_GROUP");
        let secret = environment.required("TELEGRAM_SECRET");
        let api_url =
            environment.optional("TELEGRAM_API_URL").unwrap_or_else(|| telegram::client::API_URL.to_owned());
        let time_zone = environment.optional::<ZoneName>("TIME_ZONE").map_or(TimeZone::UTC, |zone| zone.0);
        let max_age_hours = environment.optional("MAX_AGE_HOURS").unwrap_or(Self::MAX_AGE_HOURS);
        let mut watched = environment.list::<String>("WATCHED_FUNCTIONS");
        let own_name = environment.optional::<String>("AWS_LAMBDA_FUNCTION_NAME");
        let pcap_topic = environment.optional::<String>("PCAP_TOPIC");
        let stalled_after = environment.optional::<std::num::NonZeroU32>("INGEST_STALLED_AFTER_MINUTES");
        environment.check()?;
        let mut watchdog = Watchdog::of(aggregate_group);
        watchdog.settings.ingest_stalled_after_ms = stalled_after.map(|minutes| minutes_ms(minutes.get()));
        if let Some(topic) = pcap_topic {
            watchdog.pcap_topic = topic;
        }
        if !watched.is_empty() {
            // its own name, too, would be a circle in the template
            watched.extend(own_name);
            let client = aws_sdk_lambda::Client::new(&runtime::aws::config("LAMBDA"));
            watchdog.mappings = Some(EventSourceMappings::of(client, watched));
        }
        let table = table(name).await;
        let telegram = Telegram::by_secret(SecretPlace::SecretsManager(secret), api_url);
        let now_ms = runtime::clock::now_ms;
        let post = Post::new(table.clone(), time_zone, now_ms, telegram);
        Ok(Self { table, group, post, watchdog, max_age_ms: Self::max_age_ms(max_age_hours), now_ms })
    }

    /// Hours in milliseconds.
    #[must_use]
    pub const fn max_age_ms(hours: u32) -> i64 {
        hours as i64 * 60 * 60 * 1000
    }
}

/// Absorbs a batch and sends what it opens, or does what is due. Returns only when every episode of every record is written, or was
/// already past it; what could not be sent stays due, and fails nothing.
///
/// # Errors
/// When the table does not answer: the batch has to be delivered again, which tells nothing twice.
pub async fn handle(event: &RawValue, context: &Context) -> Result<Report, Error> {
    if is_of_schedule(event.get()) {
        return round(context).await;
    }
    let batch = KafkaEvent::read(event)?;
    let mut report = Report::default();
    let mut list = WatchList::load(&context.table).await?;
    let mut opened: Vec<(Destination, MessageId)> = Vec::new();
    for ((topic, partition), records) in &batch.partitions {
        let places: Vec<Place> = records
            .iter()
            .map(|record| Place { offset: record.offset, timestamp: record.timestamp })
            .collect();
        let tracker = Tracker::new(&context.table, &context.group, topic, *partition);
        let progress = tracker.begin(&places).await?;
        let source = Source { topic: topic.to_string(), life: progress.life, partition: *partition };

        let ours = records.partition_point(|record| record.offset < progress.from);
        let now_ms = (context.now_ms)();
        let ours = records.get(ours..).unwrap_or_default();
        let sighted = sighted::sort_out(ours, &mut list, context.max_age_ms, now_ms);
        let told: Vec<_> = sighted.by_case.values().map(|(of, _)| list.destinations(*of)).collect();
        let cases: Vec<Case<'_>> = sighted
            .by_case
            .into_iter()
            .zip(&told)
            .filter_map(|(((_, _, who), (of, sightings)), to)| {
                let (chat, watch) = list.chat_and_watch(of)?;
                // a webhook of another watch alone may be all that a chat has
                (!to.is_empty()).then_some(Case { chat: chat.id, watch, who, to, sightings })
            })
            .collect();
        let of_partition = episodes::absorb(&context.table, &source, &cases, now_ms).await?;
        opened.extend(of_partition.messages);
        tracker.advance(progress, &places).await?;
        report.matched += sighted.matched;
        report.too_old += sighted.too_old;
    }
    report.opened = opened.len() as u64;
    report.delivered = context.post.deliver(&opened).await.unwrap_or_else(|error| {
        // Everything is written: what was not sent is due, and the schedule sends it.
        tracing::warn!(error = runtime::log::with_causes(&error), "messages have to wait for the next round");
        Delivered::default()
    });
    tracing::debug!(?report, watches = ?list.count(), "absorbed a batch");
    Ok(report)
}

/// What the schedule calls for: what is wrong is made known, and what is due is sent. The one does not hold up the other.
async fn round(context: &Context) -> Result<Report, Error> {
    let made = context.watchdog.round(&context.table, context.now_ms).await;
    let made = made.inspect_err(|error| {
        tracing::warn!(error = runtime::log::with_causes(error), "the watchdog could not look at everything");
    });
    let mut delivered = match &made {
        Ok(made) => context.post.deliver(&made.messages).await.unwrap_or_else(|error| {
            let error = runtime::log::with_causes(&error);
            tracing::warn!(error, "messages of the watchdog have to wait");
            Delivered::default()
        }),
        Err(_in_the_log) => Delivered::default(),
    };
    delivered += context.post.round().await?;
    let made = made?;
    let noticed = made.messages.len() as u64;
    let mappings_in_trouble = made.mappings_in_trouble;
    Ok(Report { noticed, delivered, mappings_in_trouble, ..Report::default() })
}

/// Minutes in milliseconds.
#[must_use]
pub const fn minutes_ms(minutes: u32) -> i64 {
    minutes as i64 * 60 * 1000
}

/// Whether an event is the schedule's: what `template.yaml` gives it, or what EventBridge sends by itself.
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-eventbridge-scheduler.html>
fn is_of_schedule(event: &str) -> bool {
    #[derive(Deserialize)]
    struct Event {
        #[serde(default)]
        round: bool,
        #[serde(default)]
        source: String,
    }
    event.len() <= MAX_SCHEDULE_BYTES
        && serde_json::from_str(event).is_ok_and(|Event { round, source }| {
            round || matches!(source.as_str(), "aws.events" | "aws.scheduler")
        })
}

/// The event of the schedule.
pub const ROUND: &str = r#"{"round":true}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_told_from_records() {
        assert!(is_of_schedule(ROUND));
        assert!(is_of_schedule(
            r#"{"version":"0","source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#
        ));
        for other in ["{}", "[]", "null", r#"{"eventSource":"aws:kafka","records":{}}"#, r#"{"round":false}"#]
        {
            assert!(!is_of_schedule(other), "{other}");
        }
    }
}
