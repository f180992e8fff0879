//! The Lambda function `bot`.

#![recursion_limit = "256"] // the types of the SDK's futures nest deeply

use std::convert::Infallible;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use bot::{Context, handle};
use lambda_runtime::{LambdaEvent, service_fn};
use state::Table;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    runtime::log::init_in_lambda();
    let context =
        &Context::try_from_env(async |name| Table::connect(&runtime::aws::config("DYNAMODB"), name)).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<ApiGatewayV2httpRequest>| async move {
        Ok::<_, Infallible>(handle(&event.payload, context).await)
    }))
    .await
    .map_err(anyhow::Error::from_boxed)
}
