//! The Lambda function `alert`.

#![recursion_limit = "256"] // the types of the SDK's futures nest deeply

use alert::{Context, Error, handle};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::value::RawValue;
use state::Table;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    runtime::log::init_in_lambda();
    let context =
        &Context::try_from_env(async |name| Table::connect(&runtime::aws::config("DYNAMODB"), name)).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let report = handle(&event.payload, context).await?;
        runtime::metrics::emit(
            "alert",
            &[
                ("EpisodesOpened", report.opened),
                ("MessagesSent", report.delivered.sent),
                ("MessagesDropped", report.delivered.dropped),
                ("MappingsInTrouble", report.mappings_in_trouble),
            ],
            &[
                ("RecordsMatched", report.matched),
                ("RecordsTooOld", report.too_old),
                ("NoticesMade", report.noticed),
                ("MessagesEdited", report.delivered.edited),
                ("MessagesDigested", report.delivered.digested),
                ("MessagesDeferred", report.delivered.deferred),
            ],
        );
        Ok::<_, Error>(())
    }))
    .await
    .map_err(anyhow::Error::from_boxed)
}
