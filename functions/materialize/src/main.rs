//! The Lambda function `materialize`.

#![recursion_limit = "256"] // the types of the SDK's futures nest deeply

use lambda_runtime::{LambdaEvent, service_fn};
use materialize::{Context, Error, handle};
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
            "materialize",
            &[("RecordsQuarantined", report.quarantined)],
            &[
                ("RecordsListed", report.listed),
                ("RecordsDeleted", report.deleted),
                ("DocumentsTold", report.documents),
                ("HeartbeatsTold", report.sensors),
                ("RecordsIgnored", report.ignored),
                ("ItemsRead", report.effort.reads),
                ("ItemsWritten", report.effort.writes),
                ("WritesRefused", report.effort.refusals),
            ],
        );
        Ok::<_, Error>(())
    }))
    .await
    .map_err(anyhow::Error::from_boxed)
}
