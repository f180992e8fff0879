//! What AWS asks for, in us-east-1 and US dollars. Where each comes from stands in `infra/cost/README.md`.

/// A million write request units of DynamoDB, on demand.
pub(crate) const WRITES_MILLION: f64 = 0.625;
/// A million read request units.
pub(crate) const READS_MILLION: f64 = 0.125;
/// A GB of table and indexes, a month.
pub(crate) const STORAGE_GB: f64 = 0.25;
/// A GB that point-in-time recovery keeps, a month.
pub(crate) const RECOVERY_GB: f64 = 0.20;
/// A million invocations of Lambda.
pub(crate) const INVOCATIONS_MILLION: f64 = 0.20;
/// A GB-second of Lambda on arm64.
pub(crate) const GB_SECOND: f64 = 0.000_013_333_4;
/// A million requests of an HTTP API.
pub(crate) const HTTP_MILLION: f64 = 1.00;
/// A custom metric, a month.
pub(crate) const METRIC: f64 = 0.30;
/// A metric that an alarm looks at, a month.
pub(crate) const ALARM_METRIC: f64 = 0.10;
/// A dashboard, a month.
pub(crate) const DASHBOARD: f64 = 3.00;
/// A GB of logs that comes in.
pub(crate) const LOGS_GB: f64 = 0.50;

/// What an account has for nothing each month, for ever.
pub(crate) mod free {
    /// GB in tables and indexes.
    pub(crate) const STORAGE_GB: f64 = 25.0;
    /// Invocations.
    pub(crate) const INVOCATIONS: f64 = 1e6;
    /// GB-seconds.
    pub(crate) const GB_SECONDS: f64 = 400_000.0;
    /// Custom metrics.
    pub(crate) const METRICS: f64 = 10.0;
    /// Metrics that alarms look at.
    pub(crate) const ALARM_METRICS: f64 = 10.0;
    /// Dashboards.
    pub(crate) const DASHBOARDS: f64 = 3.0;
    /// GB of logs.
    pub(crate) const LOGS_GB: f64 = 5.0;
}
