//! Made-up places: how much is heard there, from whom, and when.

use domain::{Mac, Ssid, SsidElement};
use fastrand::Rng;
use probegram::event_source::{LogRecord, TimestampType};
use probegram_tests::local::{encoded, probe};

/// A frame of a scan follows the one before after so many milliseconds: a sensor that stays on one channel hears a few of a scan.
const BETWEEN_FRAMES_MS: i64 = 300;
/// From the frame to its record in Kafka, in milliseconds.
const TO_KAFKA_MS: i64 = 200;
const MINUTE_MS: i64 = 60 * 1000;

/// A place with its days, all alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) probes_a_day: f64,
    /// Devices with an address of their own that are there every day.
    pub(crate) residents: u32,
    /// The share of probe requests from addresses that are made up for one scan.
    pub(crate) random_share: f64,
    pub(crate) partitions: i32,
    /// So many of them are replayed: they are alike.
    pub(crate) replayed_partitions: i32,
    pub(crate) sensors: u32,
    /// What people ask the bot in a day.
    pub(crate) questions_a_day: f64,
    /// Episodes that are told in a day.
    pub(crate) alerts_a_day: f64,
    /// Parts of the day.
    pub(crate) periods: &'static [Period],
}

/// A part of a place's day, of which some is replayed.
#[derive(Debug)]
pub(crate) struct Period {
    pub(crate) hours: f64,
    /// Its share of the day's probe requests.
    pub(crate) share: f64,
    pub(crate) replayed_minutes: u32,
}

/// Frames of a scan that a sensor hears.
pub(crate) const FRAMES_A_SCAN: u32 = 5;

/// The three sizes.
pub(crate) const PLACES: [Place; 3] = [
    Place {
        name: "a quiet home",
        probes_a_day: 13_000.0,
        residents: 25,
        random_share: 0.4,
        partitions: 4,
        replayed_partitions: 4,
        sensors: 1,
        questions_a_day: 10.0,
        alerts_a_day: 3.0,
        periods: &[
            Period { hours: 8.0, share: 0.6, replayed_minutes: 480 },
            Period { hours: 16.0, share: 0.4, replayed_minutes: 960 },
        ],
    },
    Place {
        name: "a busy office",
        probes_a_day: 1_000_000.0,
        residents: 1_000,
        random_share: 0.6,
        partitions: 4,
        replayed_partitions: 4,
        sensors: 4,
        questions_a_day: 50.0,
        alerts_a_day: 20.0,
        periods: &[
            Period { hours: 10.0, share: 0.85, replayed_minutes: 10 },
            Period { hours: 14.0, share: 0.15, replayed_minutes: 20 },
        ],
    },
    Place {
        name: "a mall",
        probes_a_day: 50_000_000.0,
        residents: 2_000,
        random_share: 0.85,
        partitions: 12,
        replayed_partitions: 1,
        sensors: 40,
        questions_a_day: 100.0,
        alerts_a_day: 100.0,
        periods: &[
            Period { hours: 12.0, share: 0.95, replayed_minutes: 1 },
            Period { hours: 12.0, share: 0.05, replayed_minutes: 2 },
        ],
    },
];

/// A record and its partition.
pub(crate) type Sent = (i32, LogRecord);

impl Place {
    /// How many times as many partitions there are as are replayed.
    pub(crate) fn times(&self) -> f64 {
        f64::from(self.partitions) / f64::from(self.replayed_partitions)
    }
}

impl Period {
    /// How often the minutes that are replayed are in a day.
    pub(crate) fn times(&self) -> f64 {
        self.hours * 60.0 / f64::from(self.replayed_minutes)
    }
}

/// A topic that is filled.
pub(crate) struct Feed {
    partitions: i32,
    replayed: i32,
    is_keyed: bool,
    random: Rng,
    /// The end of each partition.
    ends: Vec<i64>,
}

impl Feed {
    /// An empty topic, whose records are keyed by device or have no keys.
    pub(crate) fn new(place: &Place, is_keyed: bool) -> Self {
        let ends = vec![0; usize::try_from(place.partitions).unwrap()];
        Self {
            partitions: place.partitions,
            replayed: place.replayed_partitions,
            is_keyed,
            random: Rng::with_seed(8),
            ends,
        }
    }

    /// What is heard in the replayed part of a period that begins then.
    pub(crate) fn hear(&mut self, place: &Place, period: &Period, begin_ms: i64) -> Vec<Sent> {
        let probes = place.probes_a_day * period.share / period.times();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
        let scans = (probes / f64::from(FRAMES_A_SCAN)).round() as u32;
        let length_ms = i64::from(period.replayed_minutes) * MINUTE_MS;
        let mut frames = Vec::new();
        for _scan in 0..scans {
            let at = begin_ms + self.random.i64(0..length_ms);
            if self.random.f64() < place.random_share {
                // phones that look for a hidden network name it, under whatever address
                let network = (self.random.u8(..10) == 0).then(|| self.random.u16(..500));
                let mac = self.random_mac();
                frames.extend(scan(mac, at, network));
            } else {
                // some are heard far more often than others
                let share = self.random.f64() * self.random.f64();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
                let number = (share * f64::from(place.residents)) as u32;
                frames.extend(self.scan_of_resident(number, at));
            }
        }
        self.send(frames)
    }

    /// Every resident scans once.
    pub(crate) fn roll_call(&mut self, place: &Place, at: i64) -> Vec<Sent> {
        let mut frames = Vec::new();
        for number in 0..place.residents {
            frames.extend(self.scan_of_resident(number, at));
        }
        self.send(frames)
    }

    fn scan_of_resident(&mut self, number: u32, at: i64) -> Vec<(Mac, i64, SsidElement)> {
        let [_, a, b, c] = number.to_be_bytes();
        let known = number % 4; // networks that it looks for; every fourth device names none
        let network = (known > 0).then(|| self.random.u32(..known)).map(|which| (number * 7 + which) % 500);
        scan(Mac::new([0xa4, 0x83, 0xe7, a, b, c]), at, network.and_then(|network| network.try_into().ok()))
    }

    /// Puts the frames into the topic in the order of their times.
    fn send(&mut self, mut frames: Vec<(Mac, i64, SsidElement)>) -> Vec<Sent> {
        frames.sort_by_key(|(_, at, _)| *at);
        let records = frames.into_iter().filter_map(|(mac, at, ssid)| {
            let key = mac.to_string().into_bytes();
            let partition = if self.is_keyed {
                i32::try_from(crc32fast::hash(&key) % u32::try_from(self.partitions).unwrap()).unwrap()
            } else {
                self.random.i32(0..self.partitions)
            };
            if partition >= self.replayed {
                return None;
            }
            let end = self.ends.get_mut(usize::try_from(partition).unwrap()).unwrap();
            *end += 1;
            let record = LogRecord {
                offset: *end - 1,
                timestamp: at + TO_KAFKA_MS,
                timestamp_type: TimestampType::LogAppendTime,
                key: self.is_keyed.then_some(key),
                value: Some(encoded(&probe(mac, at, ssid))),
                headers: Vec::new(),
            };
            Some((partition, record))
        });
        records.collect()
    }

    /// An address that a phone has made up: locally administered, one device (IEEE 802-2014, 8.4).
    fn random_mac(&mut self) -> Mac {
        let mut bytes = [0; 6];
        self.random.fill(&mut bytes);
        bytes[0] = bytes[0] & 0xfc | 0x02;
        Mac::new(bytes)
    }
}

/// A scan: any network, and in every second frame the one that the device looks for, if it looks for one.
fn scan(mac: Mac, at: i64, network: Option<u16>) -> Vec<(Mac, i64, SsidElement)> {
    let mut frames = Vec::new();
    for number in 0..i64::from(FRAMES_A_SCAN) {
        let ssid = match network {
            Some(network) if number % 2 == 1 => {
                SsidElement::Named(Ssid::new(format!("Network-{network:03}").into_bytes()).unwrap())
            }
            _ => SsidElement::Wildcard,
        };
        frames.push((mac, at + number * BETWEEN_FRAMES_MS, ssid));
    }
    frames
}
