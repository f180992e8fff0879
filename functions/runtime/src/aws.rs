//! How to reach AWS.

use std::time::Duration;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};

/// The configuration that the environment describes, with limits on how long a request may take: a request that hangs would
/// use up the whole invocation.
pub async fn config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(5))
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        // answers are small and an attempt ends after 5 s: to watch the flow of their bytes only costs
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .load()
        .await
}
