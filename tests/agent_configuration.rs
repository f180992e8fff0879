//! The agent's settings as it gets them: by command line, environment and file; which of them holds, and how it ends when they are wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use probegram_tests::frames::{pcap, probe_request, radiotap, with_fcs};
use probegram_tests::process::binary;
use tempfile::TempDir;

/// A directory with a capture of one probe request.
struct Place {
    directory: TempDir,
}

/// How the agent ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let frame = radiotap(-50, &with_fcs(probe_request([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15], b"RNM0", 1)));
        fs::write(directory.path().join("a.pcap"), pcap(127, &[frame])).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The agent in that directory, with this configuration file.
    fn run(&self, file: &str, variables: &[(&str, &str)], arguments: &str) -> Ended {
        fs::write(self.path("f.toml"), file).unwrap();
        let output = Command::new(binary("capture-agent"))
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path())
            .envs(variables.iter().copied())
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        Ended { code: output.status.code(), stdout, stderr }
    }

    fn prints(&self, file: &str, variables: &[(&str, &str)], arguments: &str, sensor: &str) {
        let ended = self.run(file, variables, arguments);
        let expected = format!("\"sensor\":\"{sensor}\"");
        assert!(
            ended.code == Some(0) && ended.stdout.contains(&expected),
            "{file} {variables:?} {arguments}: {ended:?}"
        );
    }
}

#[test]
fn the_command_line_beats_the_environment_which_beats_the_file() {
    let place = Place::new();
    let file = "read = \"a.pcap\"\noutput = \"-\"\nsensor = \"of-file\"\n";
    let variable = [("CAPTURE_AGENT_SENSOR", "of-variable")];
    place.prints(file, &[], "--config f.toml", "of-file");
    place.prints(file, &variable, "--config f.toml", "of-variable");
    place.prints(file, &variable, "--config f.toml --sensor of-flag", "of-flag");
    place.prints(file, &[("CAPTURE_AGENT_CONFIG", "f.toml")], "", "of-file");
    // an empty variable is as if it were not there
    place.prints(file, &[("CAPTURE_AGENT_SENSOR", "")], "--config f.toml", "of-file");
    place.prints(
        "",
        &[("CAPTURE_AGENT_CONFIG", ""), ("CAPTURE_AGENT_SENSR", "")],
        "--read a.pcap --output - --sensor a",
        "a",
    );
}

#[test]
fn what_does_not_go_with_a_stronger_setting_is_passed_over() {
    let place = Place::new();
    // a sensor's file, and a person who looks at a capture on it
    let sensor = "interface = [\"none0\"]\nset-monitor = true\nchannels = \"1,6,11\"\nring = \"2x1h\"\nring-all = true\n\
                  clock = \"trust\"\nspool = \"sensor\"\nbootstrap-servers = \"127.0.0.1:1\"\nsensor = \"hallway\"\n\
                  [kafka]\nacks = \"all\"\n";
    let printing = "--config f.toml --read a.pcap --output -";
    place.prints(sensor, &[], printing, "hallway");
    place.prints(
        &sensor.replace("ring", "#ring"),
        &[("CAPTURE_AGENT_PSEUDONYMIZE", "all")],
        printing,
        "hallway",
    );
    let variables = [("CAPTURE_AGENT_READ", "a.pcap"), ("CAPTURE_AGENT_OUTPUT", "-")];
    place.prints(sensor, &variables, "--config f.toml", "hallway");
    assert!(!place.path("sensor").exists());
    // the other way round
    let reading = "read = \"a.pcap\"\noutput = \"-\"\n";
    let ended = place.run(reading, &[], "--config f.toml --interface none0 --spool s --sensor a");
    assert!(ended.code == Some(1) && ended.stderr.contains("none0"), "{ended:?}");
    let unsent = sensor.replace("bootstrap-servers", "#");
    let ended = place.run(&unsent, &[], "doctor --config f.toml --pseudonymize all");
    assert!(
        ended.code == Some(1)
            && ended.stdout.contains("no interface none0")
            && !ended.stdout.contains("ring"),
        "{ended:?}"
    );
    // in one place it stays an error
    let ended = place.run("", &[], "--read a.pcap --interface none0 --spool s");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let ended = place.run(&format!("{reading}interface = \"none0\"\n"), &[], "--config f.toml");
    assert!(ended.code == Some(2) && ended.stderr.contains("f.toml"), "{ended:?}");
}

#[test]
fn a_switch_of_the_file_is_taken_back_by_its_variable() {
    let place = Place::new();
    let file = "read = \"a.pcap\"\nring-all = true\nspool = true\nsensor = \"a\"\n";
    let run = |value| {
        place.run(
            file,
            &[("CAPTURE_AGENT_RING_ALL", "false"), ("CAPTURE_AGENT_SPOOL", value)],
            "--config f.toml",
        )
    };
    let refused = place.run(file, &[("CAPTURE_AGENT_SPOOL", "s")], "--config f.toml");
    assert!(refused.code == Some(2) && refused.stderr.contains("--ring"), "{refused:?}");
    for off in ["false", "0", "no"] {
        let ended = run(off);
        assert!(ended.code == Some(2) && ended.stderr.contains("--spool"), "no way out is left: {ended:?}");
    }
    for (on, spool) in [("yes", ".local/share/probegram/spool.db"), ("s", "s/spool.db")] {
        assert_eq!(run(on).code, Some(0), "{on}");
        assert!(place.path(spool).exists(), "{on}");
    }
}

/// The property that Kafka's settings are refused for tells which one holds; where none is, the spool is the next that is wrong.
#[test]
fn a_stronger_place_has_the_last_word_on_each_property_of_librdkafka() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let linger =
        |name: &str, value: &str| fs::write(place.path(name), format!("linger.ms={value}\n")).unwrap();
    linger("good.properties", "5");
    linger("bad.properties", "bad");
    let settings = |file: &str, variables: &[(&str, &str)], arguments: &str| {
        let file = format!(
            "read = \"a.pcap\"\nspool = \"file\"\nbootstrap-servers = \"127.0.0.1:1\"\nsensor = \"a\"\n{file}"
        );
        let ended = place.run(&file, variables, &format!("--config f.toml {arguments}"));
        match ended.code {
            Some(1) if ended.stderr.contains("cannot use file") => true,
            Some(2) if ended.stderr.contains("linger.ms") || ended.stderr.contains("retry.backoff.ms") => {
                false
            }
            _ => panic!("{file} {variables:?} {arguments}: {ended:?}"),
        }
    };
    let (good, bad) = ("[kafka]\nlinger.ms = 5\n", "[kafka]\nlinger.ms = \"bad\"\n");
    let variable = |value| [("CAPTURE_AGENT_KAFKA_LINGER_MS", value)];
    assert!(settings(good, &[], "") && !settings(bad, &[], ""));
    assert!(settings(bad, &variable("5"), "") && !settings(good, &variable("bad"), ""));
    assert!(settings(bad, &variable("bad"), "-X linger.ms=5") && !settings(good, &[], "-X linger.ms=bad"));
    // a file of properties stands where it is named
    assert!(settings(bad, &variable("bad"), "--kafka-config good.properties"));
    assert!(!settings(good, &variable("5"), "--kafka-config bad.properties"));
    assert!(settings(bad, &variable("bad"), "-X linger.ms=5 --kafka-config bad.properties"));
    assert!(settings(bad, &[("CAPTURE_AGENT_KAFKA_CONFIG", "good.properties")], ""));
    assert!(settings("kafka-config = \"bad.properties\"\n[kafka]\nlinger.ms = 5\n", &[], ""));
    // and what it does not say is kept
    let other = "[kafka]\nretry.backoff.ms = \"bad\"\n";
    assert!(!settings(other, &[], "--kafka-config good.properties"));
}

#[test]
fn a_wrong_variable_is_named() {
    let place = Place::new();
    for (variable, value) in [
        ("CAPTURE_AGENT_SENSR", "hallway"),
        ("CAPTURE_AGENT_SET_MONITOR", "maybe"),
        ("CAPTURE_AGENT_HELP", "true"),
        ("CAPTURE_AGENT_", "x"),
    ] {
        let ended = place.run("", &[(variable, value)], "--read a.pcap --output - --sensor a");
        let expected = format!("capture-agent: {variable}: ");
        assert!(ended.code == Some(2) && ended.stderr.starts_with(&expected), "{ended:?}");
    }
}

#[test]
fn wrong_settings_end_with_2_and_what_may_pass_with_1() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let kafka = "--read a.pcap --sensor a --spool s --bootstrap-servers 127.0.0.1:1";
    for (file, arguments, code, expected) in [
        ("", &*format!("{kafka} -X nonsense=1"), 2, "nonsense"),
        ("", &format!("{kafka} -X word"), 2, "-X: expected property=value"),
        ("", &format!("{kafka} -X acks=1"), 2, "acks"),
        ("", &format!("{kafka} --kafka-config none"), 2, "none"),
        ("", "--read a.pcap --spool s --spool-bytes 1", 2, "16 MiB or more"),
        ("", "--read a.pcap --spool s --sensor=", 2, "--sensor"),
        ("", "--read a.pcap --bootstrap-servers=", 2, "--bootstrap-servers"),
        ("", "--interface none0,none0 --spool s --sensor a", 2, "none0 is given twice"),
        (
            "interface = [\"none0\", \"none0\"]",
            "--config f.toml --spool s --sensor a",
            2,
            "none0 is given twice",
        ),
        ("", "--config none.toml --read a.pcap --spool", 2, "none.toml: it cannot be read"),
        ("spool = [", "--config f.toml", 2, "f.toml: line 1"),
        ("bootstrap-servers = \"h\\u0000:1\"", "--config f.toml --read a.pcap", 2, "NUL"),
        ("", "--interface none0 --spool s --sensor a", 1, "none0"),
        ("", "--read a.pcap --spool file --sensor a", 1, "file"),
    ] {
        let ended = place.run(file, &[], arguments);
        assert!(ended.code == Some(code) && ended.stderr.contains(expected), "{arguments}: {ended:?}");
        for unhelpful in ["FFI", "f.toml: cannot read f.toml"] {
            assert!(!ended.stderr.contains(unhelpful), "{ended:?}");
        }
        assert!(ended.stderr.matches("os error").count() < 2, "said twice: {ended:?}");
    }
}
