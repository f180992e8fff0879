//! The agent by a card, or something that looks like one to libpcap: what it hears, and what it says when the card goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use capture_agent::spool::{PCAP, SENSORS, SpoolReader};
use domain::heartbeat::{self, Heartbeat};
use domain::record::{self, Record};
use domain::{Mac, Probe};
use probegram_tests::fake_radio::FakeRadio;
use probegram_tests::frames::{other, probe_request, radiotap, with_fcs};
use probegram_tests::kafka::Kafka;
use probegram_tests::process::{Running, Signal, binary};
use probegram_tests::until;
use tempfile::TempDir;

const PHONE: [u8; 6] = [0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15];
/// Bounds a hang, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

fn heard(source: [u8; 6], ssid: &[u8], sequence: u16) -> Vec<u8> {
    radiotap(-50, &with_fcs(probe_request(source, ssid, sequence)))
}

/// The agent by this interface into a spool, listening already.
fn listen(interface: &str, spool: &Path, arguments: &[&str]) -> Running {
    let mut agent = Command::new(binary("capture-agent"));
    agent.args(["--interface", interface, "--sensor", "hallway", "--spool"]).arg(spool).args(arguments);
    let agent = Running::start(agent.env_remove("RUST_LOG"));
    until(PATIENCE, "the agent", || agent.stderr().contains("listening by").then_some(()));
    agent
}

fn probes(spool: &Path) -> Vec<Probe> {
    let Some(reader) = SpoolReader::open_read_only(spool).unwrap() else { return Vec::new() };
    let records = reader.read(PCAP, 0, 1_000_000, usize::MAX).unwrap();
    let probe = |value: &[u8]| match record::decode(value).unwrap() {
        Record::Probe(probe) => probe,
        other => panic!("{other:?}"),
    };
    records.iter().map(|record| probe(&record.value)).collect()
}

fn heartbeats(spool: &Path) -> Vec<Heartbeat> {
    let reader = SpoolReader::open_read_only(spool).unwrap().unwrap();
    let records = reader.read(SENSORS, 0, 1_000, usize::MAX).unwrap();
    let said = |key: Option<&[u8]>, value: &[u8]| heartbeat::decode(key, Some(value)).unwrap().1.unwrap();
    records.iter().map(|record| said(record.key.as_deref(), &record.value)).collect()
}

fn wait_for(spool: &Path, count: usize) -> Vec<Probe> {
    until(PATIENCE, "probe requests in the spool", || {
        let probes = probes(spool);
        (probes.len() >= count).then_some(probes)
    })
}

/// Ends the agent in good order. What it said.
fn stop(mut agent: Running) -> String {
    agent.signal(Signal::SIGTERM);
    let status = agent.wait(PATIENCE);
    assert!(status.success(), "{}", agent.stderr());
    agent.stderr()
}

fn now_ms() -> i64 {
    capture_agent::clock::now_ms()
}

#[test]
fn probe_requests_are_taken_from_a_card_and_nothing_else_is_with_the_time_at_which_they_were_heard() {
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let agent = listen(&radio.interface, directory.path(), &["--clock", "trust"]);
    let before = now_ms();
    radio.send(&radiotap(-60, &with_fcs(other(0x80, 120))), 100);
    radio.send(&heard(PHONE, b"RNM0", 1), 3);
    radio.send(&radiotap(-60, &probe_request(PHONE, b"damaged", 2)), 1);
    radio.send(&heard(PHONE, b"", 3), 1);
    let probes = wait_for(directory.path(), 4);
    assert_eq!(probes.len(), 4);
    for probe in &probes {
        assert_eq!(probe.source, Some(Mac::new(PHONE)));
        assert_eq!(probe.sensor.as_deref(), Some("hallway"));
        assert!((before..=now_ms()).contains(&probe.time), "{} is not between {before} and now", probe.time);
    }
    let said = stop(agent);
    assert!(said.contains("4 probe requests, 1 more dropped for a bad FCS"), "{said}");
    let beats = heartbeats(directory.path());
    assert_eq!(beats.len(), 1, "the newest alone is kept: {beats:?}");
    assert!(beats[0].is_last && beats[0].sensor == "hallway" && beats[0].troubles.is_empty(), "{beats:?}");
    let [interface] = &beats[0].interfaces[..] else { panic!("{beats:?}") };
    assert_eq!((interface.probe_requests, interface.bad_fcs, interface.frames), (4, 1, 105), "{interface:?}");
}

#[test]
fn a_card_that_goes_down_is_renamed_or_vanishes_is_taken_up_again_with_the_reason() {
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let interface = radio.interface.clone();
    let agent = listen(&interface, directory.path(), &["--clock", "trust"]);
    radio.send(&heard(PHONE, b"before", 1), 1);
    wait_for(directory.path(), 1);
    let said = |what: &str, times: usize| {
        until(PATIENCE, what, || (agent.stderr().matches(what).count() >= times).then_some(()));
    };

    radio.ip_link_set(&["down"]);
    said("is not heard any more", 1);
    radio.ip_link_set(&["up"]);
    said("is heard again", 1);
    radio.send(&heard(PHONE, b"up again", 2), 1);
    wait_for(directory.path(), 2);

    radio.ip_link_set(&["down"]);
    said("is not heard any more", 2);
    let renamed = format!("{interface}r");
    radio.ip_link_set(&["name", &renamed]);
    said(&format!("cannot listen by {interface}"), 1);
    drop(radio);

    let mut radio = FakeRadio::plug_in_as(&interface).unwrap();
    said("is heard again", 2);
    radio.send(&heard(PHONE, b"plugged in again", 3), 1);
    let probes = wait_for(directory.path(), 3);
    assert_eq!(probes.len(), 3);
    drop(radio); // pulled out while it listens
    said("is not heard any more", 3);
    stop(agent);
    let last = heartbeats(directory.path()).pop().unwrap();
    assert_eq!(last.interfaces[0].recovered, 2);
    assert!(!last.interfaces[0].is_listening);
    assert!(last.troubles.iter().any(|trouble| trouble.kind == format!("interface:{interface}")), "{last:?}");
}

#[test]
fn a_card_that_gives_nothing_is_in_trouble_until_it_gives_a_frame() {
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let agent = listen(&radio.interface, directory.path(), &["--clock", "trust", "--silent-after", "10s"]);
    let said = |what: &str| until(PATIENCE, what, || agent.stderr().contains(what).then_some(()));
    said("gave no frame of any kind for 10s");
    // it is taken up anew, and silent as before
    said("gave no frame of any kind for 2");
    assert!(!agent.stderr().contains("is heard again"), "{}", agent.stderr());
    radio.send(&radiotap(-60, &with_fcs(other(0x80, 120))), 1);
    said("is heard again");
    stop(agent);
    let last = heartbeats(directory.path()).pop().unwrap();
    assert_eq!((last.troubles.len(), last.interfaces[0].recovered), (0, 1), "{last:?}");
}

#[test]
fn what_waited_in_the_kernel_keeps_its_time_and_is_taken_before_the_agent_ends() {
    const FRAMES: usize = 500;
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let mut agent = listen(&radio.interface, directory.path(), &["--clock", "trust"]);
    radio.send(&heard(PHONE, b"RNM0", 1), 1);
    wait_for(directory.path(), 1);
    agent.signal(Signal::SIGSTOP);
    let before = now_ms();
    radio.send(&heard(PHONE, b"RNM0", 2), FRAMES);
    let after = now_ms();
    agent.signal(Signal::SIGTERM);
    agent.signal(Signal::SIGCONT);
    assert!(agent.wait(PATIENCE).success(), "{}", agent.stderr());
    let probes = probes(directory.path());
    assert_eq!(probes.len(), 1 + FRAMES);
    assert!(
        probes[1..].iter().all(|probe| (before - 1..=after).contains(&probe.time)),
        "{before} to {after}: {probes:?}"
    );
}

#[test]
fn a_name_that_another_card_has_got_means_the_other_card() {
    let Some(first) = FakeRadio::plug_in() else { return };
    let Some(mut second) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let agent = listen(&first.interface, directory.path(), &["--clock", "trust"]);
    let away = format!("{}a", first.interface);
    for (card, name) in [(&first, &away), (&second, &first.interface)] {
        card.ip_link_set(&["down"]);
        card.ip_link_set(&["name", name]);
    }
    let up = Command::new("ip").args(["link", "set", &first.interface, "up"]).status().unwrap();
    assert!(up.success());
    until(PATIENCE, "the agent at the other card", || {
        agent.stderr().contains("is heard again").then_some(())
    });
    second.send(&heard(PHONE, b"the other", 1), 1);
    let probes = wait_for(directory.path(), 1);
    assert_eq!(probes.len(), 1);
    stop(agent);
}

#[test]
fn one_card_that_is_missing_keeps_no_other_from_listening() {
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let agent = listen("none0", directory.path(), &["--interface", &radio.interface, "--clock", "trust"]);
    assert!(agent.stderr().contains("cannot listen by none0"), "{}", agent.stderr());
    radio.send(&heard(PHONE, b"RNM0", 1), 1);
    wait_for(directory.path(), 1);
    stop(agent);
    let last = heartbeats(directory.path()).pop().unwrap();
    assert!(last.troubles.iter().any(|trouble| trouble.kind == "interface:none0"), "{last:?}");
}

#[test]
fn what_is_heard_while_the_clock_is_not_synchronised_is_held_and_not_dated() {
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    if capture_agent::clock::is_synchronized() {
        eprintln!("skipped: this machine's clock is synchronised");
        return;
    }
    let directory = TempDir::new().unwrap();
    let agent = listen(&radio.interface, directory.path(), &[]);
    radio.send(&heard(PHONE, b"RNM0", 1), 5);
    let beat = until(PATIENCE, "a heartbeat", || heartbeats(directory.path()).pop());
    assert!(beat.troubles.iter().any(|trouble| trouble.kind == "clock"), "{beat:?}");
    assert_eq!(probes(directory.path()), []);
    let said = stop(agent);
    assert!(said.contains("5 not kept, heard while the clock was not synchronised"), "{said}");
}

#[test]
fn a_flood_of_new_random_addresses_is_cut_and_counted() {
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let agent = listen(&radio.interface, directory.path(), &["--clock", "trust", "--flood-limit", "20"]);
    for number in 0..200 {
        radio.send(&heard([0x02, 0, 0, 0, 0, number], b"RNM0", 1), 1);
    }
    radio.send(&heard(PHONE, b"the last", 1), 1);
    let probes = until(PATIENCE, "the last", || {
        let probes = probes(directory.path());
        probes.iter().any(|probe| probe.source == Some(Mac::new(PHONE))).then_some(probes)
    });
    let random = probes.len() - 1;
    assert!((20..40).contains(&random), "{random} of 200 went through");
    stop(agent);
    let last = heartbeats(directory.path()).pop().unwrap();
    assert_eq!(last.flooded, 200 - random as u64);
    assert!(last.troubles.iter().any(|trouble| trouble.kind == "flood"), "{last:?}");
}

#[test]
fn pseudonyms_leave_the_sensor_and_true_addresses_do_not() {
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let agent = listen(&radio.interface, directory.path(), &["--clock", "trust", "--pseudonymize", "all"]);
    radio.send(&heard(PHONE, b"RNM0", 1), 2);
    radio.send(&heard([0x62; 6], b"RNM0", 1), 1);
    let probes = wait_for(directory.path(), 3);
    stop(agent);
    let sources: Vec<Mac> = probes.iter().filter_map(|probe| probe.source).collect();
    assert!(sources[0] == sources[1] && sources[1] != sources[2], "{sources:?}");
    assert!(
        sources
            .iter()
            .all(|mac| mac.is_locally_administered() && mac.bytes() != PHONE && mac.bytes() != [0x62; 6])
    );
    for file in fs::read_dir(directory.path()).unwrap() {
        let path = file.unwrap().path();
        let content = fs::read(&path).unwrap();
        for address in [&PHONE[..], b"a4:83:e7:4e:39:15", b"62:62:62:62:62:62"] {
            assert!(!content.windows(address.len()).any(|window| window == address), "{}", path.display());
        }
    }
}

#[test]
fn a_ring_of_capture_files_holds_what_was_heard_and_reads_back_as_the_same() {
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let agent = listen(&radio.interface, directory.path(), &["--clock", "trust", "--ring", "3x1s"]);
    let ring = directory.path().join("ring");
    let files = || fs::read_dir(&ring).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    let mut sent = 0;
    until(PATIENCE, "three files", || {
        radio.send(&heard(PHONE, b"RNM0", sent), 1);
        sent += 1;
        (files().len() == 3).then_some(())
    });
    stop(agent);
    let live = probes(directory.path());
    let mut files = files();
    files.sort_by_key(|file| fs::metadata(file).unwrap().modified().unwrap());
    let again = directory.path().join("again");
    let read = Command::new(binary("capture-agent"))
        .args(["--sensor", "hallway", "--spool"])
        .arg(&again)
        .arg("--read")
        .args(&files)
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let of_ring = probes(&again);
    assert!(!of_ring.is_empty() && of_ring.len() <= live.len());
    assert_eq!(of_ring, live[live.len() - of_ring.len()..], "a file replayed says what the card said");
}

#[test]
fn metrics_are_served_to_this_machine_alone() {
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let directory = TempDir::new().unwrap();
    let agent = listen(&radio.interface, directory.path(), &["--clock", "trust", "--metrics", "127.0.0.1:0"]);
    let address = until(PATIENCE, "the address of the metrics", || {
        let said = agent.stderr();
        Some(said.split_once("metrics at http://")?.1.split_once("/metrics")?.0.to_owned())
    });
    radio.send(&heard(PHONE, b"RNM0", 1), 7);
    wait_for(directory.path(), 7);
    let expected = format!("probegram_probe_requests_total{{interface=\"{}\"}} 7", radio.interface);
    until(PATIENCE, &expected, || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.lines().any(|line| line == expected).then_some(())
    });
    stop(agent);
}

#[test]
fn a_card_that_cannot_be_heard_is_an_error_at_the_start_that_says_what_to_do() {
    let directory = TempDir::new().unwrap();
    for (interface, arguments, expected) in [
        ("none0", &[][..], "cannot listen by none0"),
        ("none0", &["--set-monitor"], "there is no interface none0"),
        ("lo", &[], "--set-monitor"),
        ("lo", &["--set-monitor"], "lo is no Wi-Fi card"),
        ("lo", &["--channels", "1,6"], "lo is no Wi-Fi card"),
    ] {
        let ended = Command::new(binary("capture-agent"))
            .args(["--interface", interface, "--spool"])
            .arg(directory.path())
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            ended.status.code() == Some(1) && said.contains(expected),
            "{interface} {arguments:?}: {said}"
        );
    }
}

#[test]
fn doctor_says_in_sentences_what_is_missing_and_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let nmcli = directory.path().join("nmcli");
    fs::write(
        &nmcli,
        "#!/bin/sh\n[ \"$LC_ALL\" = C ] && echo none0:unmanaged || echo none0:nicht verwaltet\n",
    )
    .unwrap();
    fs::set_permissions(&nmcli, fs::Permissions::from_mode(0o700)).unwrap();
    let doctor = |arguments: &[&str]| {
        let examined = Command::new(binary("capture-agent"))
            .args(["doctor", "--spool"])
            .arg(directory.path().join("spool"))
            .args(arguments)
            .env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()))
            .output()
            .unwrap();
        (examined.status.code(), String::from_utf8_lossy(&examined.stdout).into_owned())
    };
    let (code, said) = doctor(&["--interface", "none0", "--bootstrap-servers", "127.0.0.1:1"]);
    assert_eq!(code, Some(1), "{said}");
    for expected in [
        "there is no interface none0",
        "✅ NetworkManager leaves none0 alone",
        "Kafka at 127.0.0.1:1 cannot be reached",
        "→ ",
    ] {
        assert!(said.contains(expected), "{expected} in\n{said}");
    }
    let Some(radio) = FakeRadio::plug_in() else { return };
    let by_it = |arguments: &[&str]| {
        doctor(&[&["--interface", &radio.interface, "--clock", "trust"], arguments].concat())
    };
    // it is heard as it is, without the kernel's control of cards
    let (code, said) = by_it(&["--ring", "2x1h"]);
    for expected in
        ["✅ ", "gives 802.11 frames", "can be written", "not in bytes", "its disk, the spool's too"]
    {
        assert!(said.contains(expected), "{expected} in\n{said}");
    }
    assert_eq!(code, Some(0), "{said}");
    for wish in [&["--set-monitor"][..], &["--channels", "1"]] {
        let (code, said) = by_it(wish);
        assert!(code == Some(1) && said.contains("is no Wi-Fi card"), "{said}");
    }
    radio.ip_link_set(&["down"]);
    let (code, said) = by_it(&[]);
    assert!(code == Some(1) && said.contains(&format!("sudo ip link set {} up", radio.interface)), "{said}");
    assert!(!directory.path().join("spool").exists());
}

#[test]
fn what_is_heard_while_kafka_is_away_and_the_agent_is_killed_arrives_with_its_time() {
    const ROUNDS: u8 = 5;
    const FRAMES: u8 = 200;
    let Some(mut radio) = FakeRadio::plug_in() else { return };
    let Some(mut kafka) = Kafka::start() else { return };
    for topic in ["pcap", "sensors"] {
        kafka.create_topic(topic, 2);
    }
    let directory = TempDir::new().unwrap();
    let servers = kafka.bootstrap_servers();
    let interface = radio.interface.clone();
    let start =
        || listen(&interface, directory.path(), &["--clock", "trust", "--bootstrap-servers", &servers]);
    let position = || {
        let reader = SpoolReader::open_read_only(directory.path()).unwrap().unwrap();
        (reader.acknowledged(PCAP).unwrap(), reader.end(PCAP).unwrap())
    };
    let mut sent = Vec::new();
    let mut unacknowledged = Vec::new();
    let mut agent = start();
    let wait_for_kafka = || {
        until(PATIENCE, "Kafka has all", || {
            let (acknowledged, end) = position();
            (acknowledged + 1 == end).then_some(())
        })
    };
    let mut hear = |radio: &mut FakeRadio, round: u8| {
        for number in 0..FRAMES {
            let before = now_ms();
            radio.send(&heard([0xa4, 0x83, 0xe7, 0, round, number], b"RNM0", number.into()), 1);
            sent.push((Mac::new([0xa4, 0x83, 0xe7, 0, round, number]), before..=now_ms()));
        }
        wait_for(directory.path(), sent.len());
    };
    hear(&mut radio, 0);
    wait_for_kafka();

    kafka.kill();
    for round in 1..=ROUNDS {
        hear(&mut radio, round);
        agent.kill();
        let (acknowledged, end) = position();
        unacknowledged.push(acknowledged + 1..end);
        agent = start();
    }
    kafka.restart();
    // once more, while it sends
    until(PATIENCE, "Kafka takes some", || (position().0 > unacknowledged[0].start).then_some(()));
    agent.kill();
    let (acknowledged, end) = position();
    unacknowledged.push(acknowledged + 1..end);
    agent = start();
    hear(&mut radio, ROUNDS + 1);
    wait_for_kafka();
    stop(agent);

    let mut copies: HashMap<Mac, Vec<Probe>> = HashMap::new();
    for record in kafka.read_all("pcap") {
        let Record::Probe(probe) = record::decode(&record.value.unwrap()).unwrap() else {
            panic!("no probe")
        };
        copies.entry(probe.source.unwrap()).or_default().push(probe);
    }
    assert_eq!(copies.len(), sent.len());
    for (offset, (mac, when)) in (1..).zip(&sent) {
        let found = &copies[mac];
        let most = 1 + unacknowledged.iter().filter(|unknown| unknown.contains(&offset)).count();
        assert!((1..=most).contains(&found.len()), "{mac}: {} times, not 1 to {most}", found.len());
        // a frame has the time at which the kernel got it, by the same clock
        let time = found[0].time;
        assert!((when.start() - 1..=*when.end()).contains(&time), "{mac} at {time}, not in {when:?}");
        assert!(found.iter().all(|probe| probe.time == time));
    }
    let newest = kafka.read_all("sensors").into_iter().max_by_key(|record| record.timestamp).unwrap();
    let (sensor, last) = heartbeat::decode(newest.key.as_deref(), newest.value.as_deref()).unwrap();
    let last = last.unwrap();
    assert!(sensor == "hallway" && last.is_last, "{last:?}");
    assert!(!last.delivered.is_empty(), "{last:?}");
}
