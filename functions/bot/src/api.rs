//! The JSON interface: the same questions for programs.

use domain::tally::{Signal, Tally};
use domain::{Mac, Ssid, vendor};
use serde::Serialize;
use state::device::Device;
use state::names::{self, Name, Names, View};
use state::search;

use crate::context::Context;
use crate::error::Error;
use crate::health::{self, HealthBody};
use crate::status;
use runtime::zoned::for_programs;

/// What a program asks.
pub(crate) enum Question {
    Device(Mac),
    /// Devices by a part of their name or address.
    Devices(String),
    Ssid {
        ssid: Ssid,
        after: Option<String>,
    },
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
        Question::Device(mac) => {
            let (device, names) = futures::try_join!(
                state::device::look_up(&context.table, generation, mac, now_ms),
                names::of_device(&context.table, mac, View::All)
            )?;
            if device.is_none() && names.best().is_none() {
                Answer::error(404, "nothing was heard of this device, and it has no name")
            } else {
                Answer::ok(&DeviceBody::new(mac, names, &device.unwrap_or_default()))
            }
        }
        Question::Devices(part) => {
            let found = search::search(&context.table, generation, View::All, &part, now_ms).await?;
            let listed = |devices: Vec<(Mac, Names)>| {
                devices.into_iter().map(|(mac, names)| NamedBody::new(mac, names)).collect()
            };
            Answer::ok(&FoundBody {
                devices: listed([found.exact, found.partial].concat()),
                more: found.more,
                nearest: listed(found.nearest),
            })
        }
        Question::Ssid { ssid, after } => {
            let page =
                state::ssid::look_up(&context.table, generation, &ssid, after.as_deref(), now_ms).await?;
            let macs = page.devices.iter().map(|(mac, _)| *mac);
            let mut names = names::of(&context.table, macs, View::All).await?;
            let mut looked = |mac: Mac, tally: &Tally| LookedBody {
                device: NamedBody::new(mac, names.remove(&mac).unwrap_or_default()),
                probe_count: tally.count,
                first_probe: for_programs(tally.first),
                last_probe: for_programs(tally.last),
            };
            Answer::ok(&SsidBody {
                ssid: ssid.text_lossy().into_owned(),
                ssid_hex: ssid.hex(),
                devices: page.devices.iter().map(|(mac, tally)| looked(*mac, tally)).collect(),
                next: page.next,
            })
        }
        Question::Status => {
            let group = state::generation::consumer_group(&context.aggregate_group, generation);
            let (progress, health) = futures::try_join!(
                status::status(&context.table, generation, &group, &context.positions),
                health::look(&context.table, now_ms)
            )?;
            Answer::ok(&StatusBody { progress, health: health.for_programs() })
        }
    })
}

/// The answer to `GET /v1/status`.
#[derive(Serialize)]
struct StatusBody<'a> {
    #[serde(flatten)]
    progress: status::Status,
    #[serde(flatten)]
    health: HealthBody<'a>,
}

/// A device and what it is called.
#[derive(Serialize)]
struct NamedBody {
    mac: String,
    /// Of the names the one that wins, exactly as it was given.
    name: Option<String>,
    names: Vec<NameBody>,
    vendor: Option<&'static str>,
    locally_administered: bool,
    /// What the controller says of it.
    is_guest: Option<bool>,
    model: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Serialize)]
struct NameBody {
    label: String,
    origin: String,
}

/// The answer to `GET /v1/devices/{mac}`.
#[derive(Serialize)]
struct DeviceBody {
    #[serde(flatten)]
    device: NamedBody,
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

/// The answer to `GET /v1/devices?name=…`.
#[derive(Serialize)]
struct FoundBody {
    devices: Vec<NamedBody>,
    /// So many more have it in their name.
    more: usize,
    /// When none has: those with names like it.
    nearest: Vec<NamedBody>,
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
    #[serde(flatten)]
    device: NamedBody,
    probe_count: u64,
    first_probe: Option<String>,
    last_probe: Option<String>,
}

impl NamedBody {
    fn new(mac: Mac, names: Names) -> Self {
        let name = |name: &Name| NameBody { label: name.label.clone(), origin: name.origin.to_string() };
        Self {
            mac: mac.to_string(),
            name: names.best().map(str::to_owned),
            names: names.all().iter().map(name).collect(),
            vendor: vendor::of(mac),
            locally_administered: mac.is_locally_administered(),
            is_guest: names.is_guest,
            model: names.model,
            kind: names.kind,
        }
    }
}

impl DeviceBody {
    fn new(mac: Mac, names: Names, device: &Device) -> Self {
        let all = &device.tally.all;
        let signal = all.signal.as_ref();
        // one that has a name and was never heard has no times
        let time = |time| (all.count > 0).then(|| for_programs(time)).flatten();
        Self {
            device: NamedBody::new(mac, names),
            probe_count: all.count,
            wildcard_count: device.tally.wildcard,
            no_ssid_count: device.tally.no_ssid,
            first_probe: time(all.first),
            last_probe: time(all.last),
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
