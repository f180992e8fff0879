//! How a function reaches AWS.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;

/// The configuration for a service that Lambda puts into a function's environment: region and credentials, and where somebody has set it
/// an endpoint, of the service (`AWS_ENDPOINT_URL_DYNAMODB` for `DYNAMODB`) or of all.
/// The SDK's own way also looks for profiles, instances, containers and web identities, which a function has none of, and would be a
/// twelfth of its size.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>,
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>
#[must_use]
pub fn config(service: &str) -> SdkConfig {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let credentials = EnvironmentVariableCredentialsProvider::new();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(variable("AWS_REGION").map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .timeout_config(timeouts())
        .stalled_stream_protection(without_stalled_streams());
    let of_service = variable(&format!("AWS_ENDPOINT_URL_{service}"));
    if let Some(endpoint) = of_service.or_else(|| variable("AWS_ENDPOINT_URL")) {
        config = config.endpoint_url(endpoint);
    }
    config.build()
}

/// How long a request may take: one that hangs would use up the whole invocation.
#[must_use]
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(5))
        .build()
}

/// Answers are small, and an attempt ends after its timeout: to watch the flow of their bytes only costs.
#[must_use]
pub fn without_stalled_streams() -> StalledStreamProtectionConfig {
    StalledStreamProtectionConfig::disabled()
}
