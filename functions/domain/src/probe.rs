//! A probe request: one frame in which a device asks who is there (IEEE 802.11-2020, 9.3.3.9).

use crate::{EventTime, Mac, Ssid};

/// What the SSID element of a probe request says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SsidElement {
    /// The device asks for this network.
    Named(Ssid),
    /// Length 0: any network may answer.
    Wildcard,
    /// The frame has no readable SSID element.
    Absent,
}

/// A probe request as it was heard by one sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// When it was heard.
    pub time: EventTime,
    /// Address 2, the transmitter, any value; `None` when the frame was too short to have one.
    pub source: Option<Mac>,
    /// Address 1, usually the broadcast address.
    pub receiver: Option<Mac>,
    /// Address 3, usually the wildcard BSSID, which is the broadcast address.
    pub bssid: Option<Mac>,
    /// Which network was asked for.
    pub ssid: SsidElement,
    /// Strength at the sensor's antenna in dBm.
    pub signal_dbm: Option<i8>,
    /// IEEE channel number on which it was heard.
    pub channel: Option<u16>,
    /// Sequence number, 0 to 4095.
    pub sequence: Option<u16>,
    /// Hash of what the model of the device decides in the frame: alike for devices of one make.
    pub fingerprint: Option<u64>,
    /// Who heard it: the sensor's name.
    pub sensor: Option<String>,
}
