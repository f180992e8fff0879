//! The agent on a radio, in a virtual machine: cards of the kernel's own that hear each other, and what befalls a sensor in its years.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::BTreeSet;
use std::time::Duration;

use capture_agent::spool::{PCAP, SpoolReader};
use probegram_tests::process::binary;
use probegram_tests::until;
use probegram_tests::virtual_machine::VirtualMachine;
use serde_json::Value;
use tempfile::TempDir;

/// Bounds a hang, nothing else: without hardware virtualisation a second in there may be some out here.
const PATIENCE: Duration = Duration::from_secs(120);

/// `agent ARGUMENT…` starts one in the background, as a user that has the two capabilities and no other right. The machine's shell
/// keeps what is defined here.
const AGENT: &str = r#"
agent() {
  /bin/setpriv --reuid sensor --regid sensor --clear-groups --no-new-privs --bounding-set -all,+net_raw,+net_admin \
    --inh-caps -all,+net_raw,+net_admin --ambient-caps -all,+net_raw,+net_admin \
    capture-agent --interface wlan1 --set-monitor --clock trust --sensor hallway --metrics 127.0.0.1:9464 "$@" >/tmp/log 2>&1 &
  agent=$!
}
"#;

#[test]
fn a_sensor_hears_a_radio_and_lives_through_what_befalls_it() {
    let Some(mut machine) = VirtualMachine::start(&binary("capture-agent")) else { return };
    let machine = &mut machine;
    machine.run(AGENT);
    machine.run("ip link set wlan0 up");

    without_the_right_to_control_the_card_it_says_what_to_type(machine);
    a_channel_that_the_law_forbids_is_refused_with_those_that_it_allows(machine);
    every_probe_request_of_a_scan_comes_out(machine);
    it_hops_and_takes_up_a_card_that_went_down_or_got_another_name(machine);
    a_clock_that_is_set_back_by_an_hour_changes_nothing_but_the_times(machine);
    a_disk_that_is_full_and_one_that_cannot_be_written_are_told(machine);
}

fn without_the_right_to_control_the_card_it_says_what_to_type(machine: &mut VirtualMachine) {
    let (status, said) = machine.try_run(
        "/bin/setpriv --reuid sensor --regid sensor --clear-groups capture-agent --interface wlan1 --set-monitor --spool /tmp/none",
    );
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("not permitted to ") && said.contains("setcap cap_net_raw,cap_net_admin=eip"),
        "{said}"
    );
}

fn a_channel_that_the_law_forbids_is_refused_with_those_that_it_allows(machine: &mut VirtualMachine) {
    machine.run("iw reg set US");
    until(PATIENCE, "the rules of another country", || {
        machine.run("iw reg get").contains("country US").then_some(())
    });
    let (status, said) =
        machine.try_run("capture-agent --interface wlan1 --set-monitor --channels 1,13 --spool /tmp/none");
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("cannot listen to channel 13: it has 1,2,3,4,5,6,7,8,9,10,11,36,"), "{said}");
    assert!(said.contains("`iw reg set`"), "{said}");
    assert_eq!(mode(machine), "managed", "put back: {said}");
}

fn every_probe_request_of_a_scan_comes_out(machine: &mut VirtualMachine) {
    start(machine, "--channels 6 --spool /tmp/spool");
    let status = machine.run("cat /proc/$agent/status");
    assert!(status.contains("Uid:\t1000\t1000\t1000\t1000"), "not root: {status}");
    assert!(status.contains("CapEff:\t0000000000003000"), "no capability but two: {status}");
    assert!(machine.run("iw dev wlan1 info").contains("channel 6 (2437 MHz), width: 20 MHz (no HT)"));

    for _ in 0..10 {
        machine.run("iw dev wlan0 scan freq 2437 ssid HomeNet RNM-GUEST");
    }
    until(PATIENCE, "two probe requests from each of ten scans", || (probes(machine) == 20).then_some(()));
    stop(machine);
    assert_eq!(mode(machine), "managed", "as it was before");

    let heard = spool(machine, "/tmp/spool");
    for network in ["HomeNet", "RNM-GUEST"] {
        let of_network: Vec<_> =
            heard.iter().filter(|record| first(record, "wlan_ssid") == network).collect();
        assert_eq!(of_network.len(), 10, "{network} in {heard:?}");
        for record in of_network {
            assert_eq!(first(record, "wlan_sa"), "02:00:00:00:00:00");
            assert_eq!(first(record, "wlan_radio_channel"), "6");
            assert!(first(record, "wlan_radio_signal_dbm").parse::<i8>().unwrap() < 0, "{record}");
            assert_eq!(record["sensor"], "hallway");
        }
    }
    assert_eq!(heard.len(), 20);
}

fn it_hops_and_takes_up_a_card_that_went_down_or_got_another_name(machine: &mut VirtualMachine) {
    start(machine, "--channels 1,6,11 --dwell 250ms --spool /tmp/hopping");
    hear_on_all_channels(machine, "HomeNet");

    machine.run("ip link set wlan1 down");
    until_it_says(machine, &["wlan1 is down", "wlan1 is not heard any more"]);
    machine.run("ip link set wlan1 up");
    until_it_says(machine, &["wlan1 is heard again"]);
    hear_on_all_channels(machine, "FreePubWiFi");

    machine.run("ip link set wlan1 down; ip link set wlan1 name wlan9");
    until_it_says(machine, &["there is no interface wlan1"]);
    machine.run("ip link set wlan9 down; ip link set wlan9 name wlan1");
    until(PATIENCE, "the card under its name", || {
        (log(machine).matches("wlan1 is heard again").count() == 2).then_some(())
    });
    hear_on_all_channels(machine, "skyclub");
    stop(machine);

    let mut heard = BTreeSet::new();
    for record in spool(machine, "/tmp/hopping") {
        heard.insert((
            first(&record, "wlan_ssid").to_owned(),
            first(&record, "wlan_radio_channel").to_owned(),
        ));
    }
    let all = ["HomeNet", "FreePubWiFi", "skyclub"]
        .map(|network| ["1", "6", "11"].map(|channel| (network.to_owned(), channel.to_owned())));
    assert_eq!(heard, all.into_iter().flatten().collect());
}

fn a_clock_that_is_set_back_by_an_hour_changes_nothing_but_the_times(machine: &mut VirtualMachine) {
    start(machine, "--channels 6 --spool /tmp/back");
    machine.run("iw dev wlan0 scan freq 2437 ssid before");
    until(PATIENCE, "a probe request", || (probes(machine) == 1).then_some(()));
    machine.run("date -s @$(($(date +%s) - 3600))");
    machine.run("iw dev wlan0 scan freq 2437 ssid after");
    until(PATIENCE, "a probe request", || (probes(machine) == 2).then_some(()));
    stop(machine);

    let heard = spool(machine, "/tmp/back");
    let networks: Vec<_> = heard.iter().map(|record| first(record, "wlan_ssid")).collect();
    assert_eq!(networks, ["before", "after"]);
    let times: Vec<i64> =
        heard.iter().map(|record| record["timestamp"].as_str().unwrap().parse().unwrap()).collect();
    let back = Duration::from_millis((times[0] - times[1]).try_into().unwrap());
    assert!(
        (3000..=3601).contains(&back.as_secs()),
        "an hour, but for what it took, and for parts of a second: {back:?}"
    );
}

fn a_disk_that_is_full_and_one_that_cannot_be_written_are_told(machine: &mut VirtualMachine) {
    machine.run("truncate -s 24M /tmp/disk && /bin/mke2fs -q -F /tmp/disk && mkdir /disk && mount -o loop /tmp/disk /disk");
    machine.run("mkdir /disk/spool && chown sensor /disk/spool");
    start(machine, "--channels 6 --spool /disk/spool");

    let (status, _) = machine.try_run("dd if=/dev/zero of=/disk/fill bs=4k");
    assert_eq!(status, 1, "there is no room left");
    until(PATIENCE, "an agent that says that the disk is full", || {
        machine.run("iw dev wlan0 scan freq 2437 ssid crowded");
        log(machine).contains("the disk of the spool /disk/spool is full: make room on it").then_some(())
    });
    machine.run("rm /disk/fill && iw dev wlan0 scan freq 2437 ssid roomy");
    until(PATIENCE, "a record on the disk that has room again", || {
        (machine.try_run("grep -aq roomy /disk/spool/spool.db*").0 == 0).then_some(())
    });

    // what a kernel does when a memory card fails
    machine.run("echo u > /proc/sysrq-trigger");
    until(PATIENCE, "a disk that cannot be written", || {
        machine.run("mount").contains("/disk type ext2 (ro").then_some(())
    });
    machine.run("iw dev wlan0 scan freq 2437 ssid late");
    until_it_says(machine, &["the spool's database fails: "]);
    let metrics = metrics(machine).1;
    assert!(metrics.contains("probegram_listening{interface=\"wlan1\"} 1\n"), "it goes on: {metrics}");
    assert_eq!(end(machine), 1);
    let log = log(machine);
    assert!(log.contains("1 records could not be written and are lost"), "{log}");
    assert_eq!(mode(machine), "managed", "{log}");
    let heard = spool(machine, "/disk/spool");
    assert_eq!(heard.last().map(|record| first(record, "wlan_ssid")), Some("roomy"), "{heard:?}");
}

/// Starts an agent and waits until it listens.
fn start(machine: &mut VirtualMachine, arguments: &str) {
    machine.run(&format!("agent {arguments}"));
    until(PATIENCE, "an agent that listens", || {
        let (status, metrics) = metrics(machine);
        let log = log(machine);
        assert_eq!(machine.try_run("kill -0 $agent").0, 0, "it has ended: {log}");
        (status == 0 && metrics.contains("probegram_listening{interface=\"wlan1\"} 1\n")).then_some(())
    });
}

/// Ends it as systemd does. All that it was to do is done.
fn stop(machine: &mut VirtualMachine) {
    assert_eq!(end(machine), 0, "{}", log(machine));
}

/// Ends it as systemd does, and gives its exit status.
fn end(machine: &mut VirtualMachine) -> i32 {
    let (status, _) = machine.try_run("kill $agent && wait $agent");
    let log = log(machine);
    assert!(!log.contains("panicked"), "{log}");
    status
}

/// Scans on three channels until the spool has a record of each that it had not before.
fn hear_on_all_channels(machine: &mut VirtualMachine, network: &str) {
    for channel in ["1", "6", "11"] {
        let record = format!(r#"'"wlan_radio_channel":."{channel}".*"wlan_ssid":."{network}"'"#);
        until(PATIENCE, "a record of each channel", || {
            machine.run(&format!("iw dev wlan0 scan freq 2412 2437 2462 ssid {network}"));
            (machine.try_run(&format!("cat /tmp/hopping/spool.db* | grep -aq {record}")).0 == 0).then_some(())
        });
    }
}

/// Waits for one of these words in what the agent says.
fn until_it_says(machine: &mut VirtualMachine, words: &[&str]) {
    let what = format!("an agent that says one of {words:?}");
    until(PATIENCE, &what, || {
        let log = log(machine);
        words.iter().any(|words| log.contains(words)).then_some(())
    });
}

fn log(machine: &mut VirtualMachine) -> String {
    machine.run("cat /tmp/log")
}

fn metrics(machine: &mut VirtualMachine) -> (i32, String) {
    machine.try_run("wget -q -O - http://127.0.0.1:9464/metrics")
}

/// How many probe requests the agent has heard, as it says itself.
fn probes(machine: &mut VirtualMachine) -> u64 {
    let (_, metrics) = metrics(machine);
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("probegram_probe_requests_total{interface=\"wlan1\"} "));
    count.unwrap_or_else(|| panic!("no count in {metrics}")).parse().unwrap()
}

/// What the card is used for.
fn mode(machine: &mut VirtualMachine) -> String {
    let info = machine.run("iw dev wlan1 info");
    info.lines().find_map(|line| line.trim().strip_prefix("type ")).unwrap().to_owned()
}

/// The records of a spool in the machine.
fn spool(machine: &mut VirtualMachine, directory: &str) -> Vec<Value> {
    let copy = TempDir::new().unwrap();
    for file in machine.run(&format!("cd {directory} && ls | grep '^spool.db'; cd /")).lines() {
        machine.copy_out(&format!("{directory}/{file}"), &copy.path().join(file));
    }
    let reader = SpoolReader::open_read_only(copy.path()).unwrap().expect("a spool");
    let records = reader.read(PCAP, 0, usize::try_from(i64::MAX).unwrap(), usize::MAX).unwrap();
    records.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect()
}

/// The first value of a field, as tshark's records have it.
fn first<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field][0].as_str().unwrap_or_else(|| panic!("no {field} in {record}"))
}
