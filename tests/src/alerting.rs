//! An installation with a bot: the Bot API server of the tests, `probegram local` that speaks there, and what is said in its chats.

use std::fs;
use std::process::Command;
use std::time::Duration;

use domain::{EventTime, Mac, Ssid, SsidElement};
use serde_json::Value;
use tempfile::TempDir;

use crate::kafka::NewRecord;
use crate::local::{Local, encoded, probe};
use crate::telegram::{Kind, Message, Telegram};
use crate::until;

/// How long anything may take, also what waits for a lease or a minute to pass. It bounds a hang on a busy machine, nothing else.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// What every alert and digest begins with, and no other answer.
const SIGN: &str = "📣";

/// A bot of Telegram.
pub struct Bot {
    /// Where it is.
    pub telegram: Telegram,
    files: TempDir,
}

impl Bot {
    /// One that no installation has spoken for yet, with these chats.
    ///
    /// # Panics
    /// If its token cannot be written.
    #[must_use]
    pub fn start(chats: &[(i64, Kind)]) -> Self {
        let telegram = Telegram::start();
        for (chat, kind) in chats {
            telegram.add_chat(*chat, *kind);
        }
        let files = TempDir::new().expect("a temporary folder");
        fs::write(files.path().join("token"), telegram.token()).expect("a file for the token");
        Self { telegram, files }
    }

    /// Lets an installation speak for it.
    pub fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .arg("--telegram-token-file")
            .arg(self.files.path().join("token"))
            .args(["--telegram-api-url", &self.telegram.url()])
    }

    /// Makes a chat the owner of a new installation, by the code that this prints.
    ///
    /// # Panics
    /// If it prints none, or the chat is not let in.
    pub fn claim(&self, local: &mut Local, chat: i64) {
        let start =
            local.program.wait_for_line("This bot has no owner yet. To become it, write to it in Telegram: ");
        let said = self.ask(chat, &start);
        assert!(said.contains("an owner of this bot now"), "{said}");
    }

    /// Says something in a chat, and gives the answer.
    ///
    /// # Panics
    /// If there is none.
    pub fn ask(&self, chat: i64, text: &str) -> String {
        let answers = || -> Vec<Message> {
            let messages = self.telegram.messages(chat).into_iter();
            messages.filter(|message| !message.text.starts_with(SIGN)).collect()
        };
        let before = answers().len();
        self.telegram.somebody_says(chat, text);
        until(PATIENCE, &format!("an answer to {text}"), || Some(answers().get(before)?.text.clone()))
    }

    /// The alerts and digests in a chat, in the order in which they were sent.
    #[must_use]
    pub fn alerts(&self, chat: i64) -> Vec<Message> {
        let messages = self.telegram.messages(chat).into_iter();
        messages.filter(|message| message.text.starts_with(SIGN)).collect()
    }

    /// Waits for an alert about a device in a chat, and gives the first.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn alert_about(&self, chat: i64, mac: Mac) -> Message {
        let mac = mac.to_string();
        until(PATIENCE, &format!("an alert about {mac}"), || {
            self.alerts(chat).into_iter().find(|message| message.text.contains(&mac))
        })
    }
}

/// Whether every group that reads a topic has dealt with so many of its records: of topic `pcap` those of `aggregate` and `alert`. A
/// group that has no partitions yet has dealt with nothing.
#[must_use]
pub fn is_dealt_with(status: &Value, topic: &str, records: i64) -> bool {
    let readers = if topic == "pcap" { 2 } else { 1 };
    let others = status["groups"].as_object().into_iter().flat_map(|groups| groups.values());
    let of_topic: Vec<Vec<&Value>> = std::iter::once(&status["partitions"])
        .chain(others)
        .map(|partitions| {
            let partitions = partitions.as_array().into_iter().flatten();
            partitions.filter(|partition| partition["topic"] == topic).collect()
        })
        .filter(|partitions: &Vec<&Value>| !partitions.is_empty())
        .collect();
    of_topic.len() >= readers
        && of_topic.iter().all(|partitions| {
            let through = partitions.iter().filter_map(|partition| partition["through"].as_i64());
            through.map(|through| through + 1).sum::<i64>() >= records
        })
}

/// Waits until an installation has dealt with so many records of a topic, for every purpose: what is to be told of them at once is
/// told by then.
///
/// # Panics
/// If it does not.
pub fn wait_until_dealt_with(local: &Local, topic: &str, records: i64) {
    let mut last = Value::Null;
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until(PATIENCE, "records that are dealt with", || {
            last = local.status();
            is_dealt_with(&last, topic, records).then_some(())
        });
    }));
    assert!(
        told.is_ok(),
        "{records} records of {topic} are not dealt with: {last}\n{}",
        local.program.stderr()
    );
}

/// The record of a probe request as the agent writes it: at -60 dBm in the hallway.
///
/// # Panics
/// If the name is none of a network.
#[must_use]
pub fn of_agent(mac: Mac, time: EventTime, ssid: &str) -> Vec<u8> {
    encoded(&probe(mac, time, SsidElement::Named(Ssid::new(ssid.as_bytes()).expect("an SSID"))))
}

/// The record of a probe request as the seed's pipeline of 2020 wrote it (`tshark -T ek … | jq …`), without the signal.
#[must_use]
pub fn of_2020(mac: Mac, time: EventTime, ssid: &str) -> Vec<u8> {
    format!(
        r#"{{"timestamp":"{time}","wlan_fc_type":["0"],"wlan_fc_type_subtype":["4"],"wlan_sa":["{mac}"],"wlan_sa_resolved":["{mac}"],"wlan_tag_oui":["20722","4120"],"wlan_ssid":["{ssid}"]}}"#
    )
    .into_bytes()
}

/// A record of topic `pcap`, keyed by device as the agent does it, at a time of Kafka's.
#[must_use]
pub fn keyed(mac: Mac, timestamp: Option<EventTime>, value: Vec<u8>) -> NewRecord {
    NewRecord {
        key: Some(mac.to_string().into_bytes()),
        timestamp,
        value: Some(value),
        ..NewRecord::default()
    }
}

/// A record of topic `ssid_alert_list`: watches a network for a reason, or without one no more.
#[must_use]
pub fn listed(ssid: &str, reason: Option<&str>) -> NewRecord {
    let value = reason.map(|reason| serde_json::json!({"REASON": reason}).to_string().into_bytes());
    NewRecord { key: Some(ssid.as_bytes().to_vec()), value, ..NewRecord::default() }
}
