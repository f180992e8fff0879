//! What `aggregate` carries: records per second and per CPU second, on batches as large as Lambda's 6 MB hold, of 2,000 devices.
//! The time is split into the steps of an invocation; the table is the embedded one, in memory, in this process.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use domain::tally::{DeviceTally, Tally};
use domain::{Mac, Probe, Ssid, SsidElement, record};
use nix::sys::resource::{UsageWho, getrusage};
use probegram::embedded::Embedded;
use probegram::event_source::{Batch, LogRecord, TimestampType};
use probegram::template::Template;
use runtime::KafkaEvent;
use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use state::tallies::Retention;

const RECORDS: usize = 200_000;
const DEVICES: usize = 2_000;
const NOW_MS: i64 = 1_795_000_000_000;

fn main() {
    let mut mapping = Template::read().unwrap().mapping("AggregateMapping").unwrap();
    mapping.filters.clear();
    let mut random = fastrand::Rng::with_seed(6);
    let mut batches = Vec::new();
    let mut batch = Batch::new("pcap", 0, 0);
    let mut bytes = 0;
    for offset in 0..RECORDS {
        let value = one_record(&mut random, offset);
        bytes += value.len();
        let one = LogRecord {
            offset: i64::try_from(offset).unwrap(),
            timestamp: NOW_MS,
            timestamp_type: TimestampType::CreateTime,
            headers: Vec::new(),
            key: Some(b"a4:83:e7:4e:39:15".to_vec()),
            value: Some(value),
        };
        if let Err(one) = batch.take(one, &mapping) {
            let next = Batch::new("pcap", 0, batch.next());
            batches.push(std::mem::replace(&mut batch, next));
            batch.take(one, &mapping).unwrap();
        }
    }
    batches.push(batch);
    let events: Vec<Box<RawValue>> = batches.iter().map(|batch| batch.event().unwrap()).collect();
    println!(
        "aggregate: {RECORDS} records of {} bytes, {DEVICES} devices, in {} batches of up to {} records",
        bytes / RECORDS,
        events.len(),
        batches.first().map_or(0, Batch::len)
    );

    let envelope =
        measure(|| events.iter().for_each(|event| drop(black_box(KafkaEvent::read(event).unwrap()))));
    let read: Vec<KafkaEvent<'_>> = events.iter().map(|event| KafkaEvent::read(event).unwrap()).collect();
    let records = || read.iter().flat_map(|event| event.partitions.values().flatten());
    let mut buffer = Vec::new();
    let base64 =
        measure(|| records().for_each(|record| assert!(black_box(record.value(&mut buffer)).is_ok())));
    let values: Vec<Vec<u8>> =
        records().map(|record| record.value(&mut buffer).unwrap().unwrap().to_vec()).collect();
    let json = measure(|| values.iter().for_each(|value| drop(black_box(record::decode(value).unwrap()))));
    let probes: Vec<Probe> = values
        .iter()
        .map(|value| match record::decode(value).unwrap() {
            record::Record::Probe(probe) => probe,
            record::Record::NotAProbeRequest => unreachable!("only probe requests are made"),
        })
        .collect();
    let fold = measure(|| {
        let mut devices: FxHashMap<Mac, DeviceTally> = FxHashMap::default();
        let mut ssids: FxHashMap<(Mac, &Ssid), Tally> = FxHashMap::default();
        for probe in &probes {
            let mac = probe.source.unwrap();
            devices.entry(mac).or_default().absorb(probe);
            if let SsidElement::Named(ssid) = &probe.ssid {
                ssids.entry((mac, ssid)).or_default().absorb(probe);
            }
        }
        black_box((devices, ssids));
    });

    let context = aggregate::Context {
        table: Embedded::open(None, &Template::read().unwrap()).unwrap().table(),
        group: "aggregate".to_owned(),
        generation: 1,
        retention: Retention::in_days(400, None),
        now_ms: || NOW_MS,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut reads, mut writes) = (0, 0);
    let whole = measure(|| {
        for event in &events {
            let report = runtime.block_on(aggregate::handle(event, &context)).unwrap();
            reads += report.effort.reads;
            writes += report.effort.writes;
        }
    });
    let again = measure(|| {
        for event in &events {
            let report = runtime.block_on(aggregate::handle(event, &context)).unwrap();
            assert_eq!(report.effort.writes, 0, "a batch that was absorbed before writes nothing");
        }
    });

    let steps = [("envelope", envelope), ("base64", base64), ("JSON", json), ("fold", fold)];
    for (step, took) in steps {
        report(step, took);
    }
    let known: Duration = steps.iter().map(|(_, took)| took.cpu).sum();
    report("all four", Took { wall: known, cpu: known });
    report(
        "DynamoDB (SDK and the embedded table)",
        Took { wall: whole.wall.saturating_sub(known), cpu: whole.cpu.saturating_sub(known) },
    );
    report("whole", whole);
    report("the same again", again);
    println!(
        "  {:.3} items read and {:.3} written a record",
        reads as f64 / RECORDS as f64,
        writes as f64 / RECORDS as f64
    );
}

/// A record as the agent writes it: a few devices are heard often, most seldom.
fn one_record(random: &mut fastrand::Rng, number: usize) -> Vec<u8> {
    let rank = random.usize(1..=DEVICES).min(random.usize(1..=DEVICES)).min(random.usize(1..=DEVICES));
    let low = u16::try_from(rank).unwrap().to_be_bytes();
    let mac = Mac::new([0xa4, 0x83, 0xe7, 0, low[0], low[1]]);
    let ssid = match random.usize(0..5) {
        0 | 1 => SsidElement::Wildcard,
        name => SsidElement::Named(
            Ssid::new(format!("Network-{:03}", (rank * 7 + name) % 500).into_bytes()).unwrap(),
        ),
    };
    let probe = Probe {
        time: NOW_MS - 1_000_000 + i64::try_from(number).unwrap(),
        source: Some(mac),
        receiver: Some(Mac::new([0xff; 6])),
        bssid: Some(Mac::new([0xff; 6])),
        ssid,
        signal_dbm: Some(random.i8(-90..-30)),
        channel: Some(6),
        sequence: Some(random.u16(0..4096)),
        fingerprint: Some(random.u64(..)),
        sensor: None,
    };
    let mut record = Vec::new();
    record::encode(&probe, "hallway", &mut record);
    record
}

#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

fn measure(work: impl FnOnce()) -> Took {
    let (wall, cpu) = (Instant::now(), cpu());
    work();
    Took { wall: wall.elapsed(), cpu: self::cpu().saturating_sub(cpu) }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| {
            Duration::new(
                u64::try_from(time.tv_sec()).unwrap(),
                u32::try_from(time.tv_usec()).unwrap() * 1000,
            )
        })
        .sum()
}

fn report(step: &str, took: Took) {
    let rate = |time: Duration| RECORDS as f64 / time.as_secs_f64().max(1e-9);
    println!(
        "  {step:38} {:>7.0} ns CPU a record, {:>10.0} records/s, {:>10.0} records/CPU s",
        took.cpu.as_nanos() as f64 / RECORDS as f64,
        rate(took.wall),
        rate(took.cpu)
    );
}
