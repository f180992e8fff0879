//! From a captured frame to a record of topic `pcap`.

use std::fmt;
use std::io::Write as _;

use domain::link_layer::{Captured, FcsPolicy, Rejected, decode};
use domain::{Probe, record};
use indicatif::HumanCount;

/// What became of the frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// All that were looked at.
    pub frames: u64,
    /// Those that became records.
    pub probe_requests: u64,
    /// Probe requests that were damaged on the air.
    pub bad_fcs: u64,
    /// Frames behind a header that cannot be read.
    pub bad_header: u64,
}

impl fmt::Display for FrameCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames, {} probe requests", HumanCount(self.frames), HumanCount(self.probe_requests))?;
        if self.bad_fcs > 0 {
            write!(f, ", {} more dropped for a bad FCS (--fcs ignore keeps them)", HumanCount(self.bad_fcs))?;
        }
        if self.bad_header > 0 {
            write!(f, ", {} frames with a damaged radio header", HumanCount(self.bad_header))?;
        }
        Ok(())
    }
}

impl std::ops::AddAssign for FrameCounts {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.probe_requests += other.probe_requests;
        self.bad_fcs += other.bad_fcs;
        self.bad_header += other.bad_header;
    }
}

/// Makes records of one sensor's frames and counts.
#[derive(Debug)]
pub struct Recorder {
    fcs: FcsPolicy,
    sensor: String,
    counts: FrameCounts,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// A record, as long as the next has not been made.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// The text of the source MAC, when the frame has one: what a device sends stays in one partition.
    pub key: Option<&'a [u8]>,
    /// The JSON.
    pub value: &'a [u8],
}

impl Recorder {
    /// A recorder for the frames of this sensor.
    #[must_use]
    pub fn new(fcs: FcsPolicy, sensor: String) -> Self {
        Self { fcs, sensor, counts: FrameCounts::default(), key: Vec::new(), value: Vec::new() }
    }

    /// The record of a frame, if it is a probe request that is to be kept.
    pub fn record(&mut self, frame: &Captured<'_>) -> Option<Recorded<'_>> {
        let probe = self.decode(frame)?;
        Some(self.encode(&probe))
    }

    /// The probe request in a frame, if it is one that is to be kept.
    pub fn decode(&mut self, frame: &Captured<'_>) -> Option<Probe> {
        self.counts.frames += 1;
        match decode(frame, self.fcs) {
            Ok(probe) => {
                self.counts.probe_requests += 1;
                Some(probe)
            }
            Err(Rejected::NotAProbeRequest) => None,
            Err(Rejected::BadFcs) => {
                self.counts.bad_fcs += 1;
                None
            }
            Err(Rejected::BadHeader) => {
                self.counts.bad_header += 1;
                None
            }
        }
    }

    /// The record of a probe request.
    pub fn encode(&mut self, probe: &Probe) -> Recorded<'_> {
        self.value.clear();
        record::encode(probe, &self.sensor, &mut self.value);
        self.key.clear();
        if let Some(source) = probe.source {
            let _writing_to_memory_cannot_fail = write!(self.key, "{source}");
        }
        Recorded { key: probe.source.map(|_| self.key.as_slice()), value: &self.value }
    }

    /// What became of the frames so far.
    #[must_use]
    pub fn counts(&self) -> FrameCounts {
        self.counts
    }
}
