//! Metrics for Prometheus, on this machine alone: what the heartbeat says, in the text format of OpenMetrics 1.0.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use domain::Heartbeat;
use domain::heartbeat::{Clock, Interface};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::pulse::Pulse;

const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves them until the process ends.
///
/// # Errors
/// Why the address cannot be had.
pub fn serve(address: SocketAddr, pulse: Pulse) -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let pulse = Arc::new(Mutex::new(pulse));
    let answer = move || {
        let pulse = Arc::clone(&pulse);
        async move {
            let heartbeat = pulse.lock().unwrap_or_else(PoisonError::into_inner).take();
            match encode(heartbeat) {
                Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, FORMAT)], text),
                Err(error) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string())
                }
            }
        }
    };
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, Router::new().route("/metrics", get(answer))).await
        });
        if let Err(error) = served {
            tracing::error!("metrics are not served any more: {error}");
        }
    })?;
    Ok(bound)
}

/// The text of the metrics.
fn encode(heartbeat: Heartbeat) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("probegram");
    registry.register_collector(Box::new(Metrics(heartbeat)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Metrics(Heartbeat);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Self(heartbeat) = self;
        let interfaces = &heartbeat.interfaces;
        let mut of_interfaces = |name, help, is_counter, value: fn(&Interface) -> u64| {
            let metric_type = if is_counter {
                ConstCounter::new(0_u64).metric_type()
            } else {
                ConstGauge::new(0_i64).metric_type()
            };
            let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
            for interface in interfaces {
                let labels = [("interface", interface.name.as_str())];
                let metric = family.encode_family(&labels)?;
                let value = value(interface);
                if is_counter {
                    ConstCounter::new(value).encode(metric)?;
                } else {
                    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
                }
            }
            Ok::<_, std::fmt::Error>(())
        };
        of_interfaces("frames", "Frames of all kinds that the card gave", true, |of| of.frames)?;
        of_interfaces("probe_requests", "Probe requests that were heard, undamaged", true, |of| {
            of.probe_requests
        })?;
        of_interfaces("bad_fcs", "Probe requests with a wrong frame check sequence", true, |of| of.bad_fcs)?;
        of_interfaces("bad_header", "Frames with a damaged radio header", true, |of| of.bad_header)?;
        of_interfaces("kernel_drops", "Frames that the kernel dropped", true, |of| of.dropped_by_kernel)?;
        of_interfaces("interface_drops", "Frames that the interface dropped", true, |of| {
            of.dropped_by_interface
        })?;
        of_interfaces("recoveries", "How often the card was taken up again", true, |of| of.recovered)?;
        of_interfaces("listening", "Whether the card is heard", false, |of| of.is_listening.into())?;
        of_interfaces("silence_seconds", "Seconds since the card's last frame", false, |of| of.silent_s)?;

        let mut of_sensor = |name, help, is_counter, value: u64| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let counter = ConstCounter::new(value);
            let metric_type = if is_counter { counter.metric_type() } else { gauge.metric_type() };
            let metric = encoder.encode_descriptor(name, help, None, metric_type)?;
            if is_counter { counter.encode(metric) } else { gauge.encode(metric) }
        };
        let spool = &heartbeat.spool;
        of_sensor(
            "flood_drops",
            "Probe requests dropped in a flood of new random addresses",
            true,
            heartbeat.flooded,
        )?;
        of_sensor(
            "spool_drops",
            "Records dropped by the spool's bounds, or for want of a disk",
            true,
            spool.dropped,
        )?;
        of_sensor("spool_waiting_records", "Records that Kafka has not acknowledged", false, spool.waiting)?;
        of_sensor("spool_oldest_seconds", "How long the oldest of them has waited", false, spool.oldest_s)?;
        of_sensor("spool_bytes", "The size of the spool on the disk", false, spool.bytes)?;
        of_sensor(
            "held_probe_requests",
            "Probe requests held until the clock is synchronised",
            false,
            heartbeat.held,
        )?;
        let is_believed = heartbeat.clock != Clock::Unsynchronized;
        of_sensor("clock_believed", "Whether the clock is believed", false, is_believed.into())?;
        of_sensor("troubles", "How many things are wrong", false, heartbeat.troubles.len() as u64)?;
        of_sensor("uptime_seconds", "Seconds since the agent's start", false, heartbeat.uptime_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_say_what_the_heartbeat_says() {
        let heartbeat = Heartbeat {
            interfaces: vec![Interface {
                name: "wlan1".to_owned(),
                is_listening: true,
                probe_requests: 17,
                silent_s: 3,
                ..Interface::default()
            }],
            flooded: 5,
            ..Heartbeat::default()
        };
        let text = encode(heartbeat).unwrap();
        for line in [
            "# TYPE probegram_probe_requests counter",
            "probegram_probe_requests_total{interface=\"wlan1\"} 17",
            "probegram_listening{interface=\"wlan1\"} 1",
            "probegram_silence_seconds{interface=\"wlan1\"} 3",
            "probegram_flood_drops_total 5",
            "probegram_clock_believed 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
