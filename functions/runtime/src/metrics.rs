//! Metrics in CloudWatch's embedded metric format: one JSON line on standard output an invocation, no request to make.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::io::Write as _;

use serde_json::{Map, Value, json};

/// The namespace of all metrics.
const NAMESPACE: &str = "Probegram";

/// Writes the counts of one invocation. Those of `metrics` become metrics of CloudWatch, each of which costs USD 0.30 a month beyond the
/// first ten of an account (2026-11), by the hours in which it is sent: so they are those that an alarm or the dashboard needs, and none is
/// sent that is 0. `details` stand in the same line of the log,
/// where Logs Insights counts them. The function's name is the only dimension, so that the number of metrics is bounded; `function` is what it is
/// called where Lambda does not say.
pub fn emit(function: &str, metrics: &[(&str, u64)], details: &[(&str, u64)]) {
    let name = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|_not_on_lambda| function.to_owned());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let line = line(&name, metrics, details, u64::try_from(now.as_millis()).unwrap_or(0));
    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}") {
        tracing::warn!(%error, "the metrics of this invocation could not be written");
    }
}

fn line(function: &str, metrics: &[(&str, u64)], details: &[(&str, u64)], now_ms: u64) -> Value {
    let sent = metrics.iter().filter(|(_, count)| *count > 0);
    let declared: Vec<Value> = sent.map(|(name, _)| json!({"Name": name, "Unit": "Count"})).collect();
    let mut line = Map::new();
    if !declared.is_empty() {
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": now_ms,
                "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["Function"]], "Metrics": declared}],
            }),
        );
    }
    line.insert("Function".to_owned(), json!(function));
    line.extend(metrics.iter().chain(details).map(|(name, count)| ((*name).to_owned(), json!(count))));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_embedded_metric_format() {
        assert_eq!(
            line("aggregate", &[("RecordsFolded", 3)], &[("ItemsRead", 7)], 1_584_802_202_655),
            json!({
                "_aws": {"Timestamp": 1_584_802_202_655_u64, "CloudWatchMetrics": [{
                    "Namespace": "Probegram", "Dimensions": [["Function"]],
                    "Metrics": [{"Name": "RecordsFolded", "Unit": "Count"}]}]},
                "Function": "aggregate",
                "RecordsFolded": 3,
                "ItemsRead": 7
            })
        );
    }
    #[test]
    fn what_did_not_happen_is_no_metric() {
        assert_eq!(
            line("alert", &[("MessagesSent", 0)], &[("RecordsMatched", 0)], 1),
            json!({"Function": "alert", "MessagesSent": 0, "RecordsMatched": 0})
        );
    }
}
