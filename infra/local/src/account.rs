//! The AWS account of whoever works here: region and credentials as for the AWS CLI.

use aws_config::{BehaviorVersion, SdkConfig};

/// The configuration that environment, profiles and so on describe, which is the SDK's usual way.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>
pub async fn config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(runtime::aws::timeouts())
        .stalled_stream_protection(runtime::aws::without_stalled_streams())
        .load()
        .await
}
