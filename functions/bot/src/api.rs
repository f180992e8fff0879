//! The JSON interface: the same questions for programs.

use domain::tally::{Signal, Tally};
use domain::{Mac, Ssid};
use serde::Serialize;
use state::device::Device;

use crate::context::Context;
use crate::error::Error;
use crate::status;
use runtime::zoned::for_programs;

/// What a program asks.
pub(crate) enum Question {
    Device(Mac),
    Ssid { ssid: Ssid, after: Option<String> },
    Status,
}

/// What it is told: a status code and a JSON body.
pub(crate) struct Answer(pub(crate) u16, pub(crate) String);

impl Answer {
    pub(crate) fn error(status: u16, why: &str) -> Self {
        Self(status, serde_json::json!({"error": why}).to_string())
    }

    fn ok(body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(body) => Self(200, body),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                Self::error(500, "the answer could not be written")
            }
        }
    }
}

/// Answers a program.
pub(crate) async fn answer(question: Question, context: &Context) -> Answer {
    match try_answer(question, context).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(error = runtime::log::with_causes(&error), "a question could not be answered");
            Answer::error(503, "the table does not answer just now: ask again")
        }
    }
}

async fn try_answer(question: Question, context: &Context) -> Result<Answer, Error> {
    let generation = context.generation.serving().await?;
    let now_ms = (context.now_ms)();
    Ok(match question {
        Question::Device(mac) => match state::device::look_up(&context.table, generation, mac, now_ms).await?
        {
            Some(device) => Answer::ok(&DeviceBody::new(mac, &device)),
            None => Answer::error(404, "nothing was heard of this device"),
        },
        Question::Ssid { ssid, after } => {
            let page =
                state::ssid::look_up(&context.table, generation, &ssid, after.as_deref(), now_ms).await?;
            Answer::ok(&SsidBody {
                ssid: ssid.text_lossy().into_owned(),
                ssid_hex: ssid.hex(),
                devices: page.devices.iter().map(|(mac, tally)| LookedBody::new(*mac, tally)).collect(),
                next: page.next,
            })
        }
        Question::Status => {
            let group = state::generation::consumer_group(&context.aggregate_group, generation);
            Answer::ok(&status::status(&context.table, generation, &group, &context.positions).await?)
        }
    })
}

/// The answer to `GET /v1/devices/{mac}`.
#[derive(Serialize)]
struct DeviceBody {
    mac: String,
    name: Option<String>,
    locally_administered: bool,
    probe_count: u64,
    wildcard_count: u64,
    no_ssid_count: u64,
    first_probe: Option<String>,
    last_probe: Option<String>,
    signal_min_dbm: Option<i8>,
    signal_max_dbm: Option<i8>,
    signal_mean_dbm: Option<f64>,
    unique_ssids: usize,
    ssids: Vec<ProbedBody>,
}

#[derive(Serialize)]
struct ProbedBody {
    ssid: String,
    ssid_hex: String,
    probe_count: u64,
    first_probe: Option<String>,
    last_probe: Option<String>,
}

/// The answer to `GET /v1/ssids/{ssid}`.
#[derive(Serialize)]
struct SsidBody {
    ssid: String,
    ssid_hex: String,
    devices: Vec<LookedBody>,
    next: Option<String>,
}

#[derive(Serialize)]
struct LookedBody {
    mac: String,
    name: Option<String>,
    probe_count: u64,
    first_probe: Option<String>,
    last_probe: Option<String>,
}

impl DeviceBody {
    fn new(mac: Mac, device: &Device) -> Self {
        let all = &device.tally.all;
        let signal = all.signal.as_ref();
        Self {
            mac: mac.to_string(),
            name: None,
            locally_administered: mac.is_locally_administered(),
            probe_count: all.count,
            wildcard_count: device.tally.wildcard,
            no_ssid_count: device.tally.no_ssid,
            first_probe: for_programs(all.first),
            last_probe: for_programs(all.last),
            signal_min_dbm: signal.map(|signal| signal.weakest_dbm),
            signal_max_dbm: signal.map(|signal| signal.best.dbm),
            signal_mean_dbm: signal.map(Signal::mean_dbm),
            unique_ssids: device.ssids.len(),
            ssids: device
                .ssids
                .iter()
                .map(|(ssid, tally)| ProbedBody {
                    ssid: ssid.text_lossy().into_owned(),
                    ssid_hex: ssid.hex(),
                    probe_count: tally.count,
                    first_probe: for_programs(tally.first),
                    last_probe: for_programs(tally.last),
                })
                .collect(),
        }
    }
}

impl LookedBody {
    fn new(mac: Mac, tally: &Tally) -> Self {
        Self {
            mac: mac.to_string(),
            name: None,
            probe_count: tally.count,
            first_probe: for_programs(tally.first),
            last_probe: for_programs(tally.last),
        }
    }
}
