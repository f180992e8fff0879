//! What `probegram local` promises to people and programs, kept by the built program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use domain::{Mac, Ssid, SsidElement};
use probegram_tests::local::{self, Local, encoded, fill_spool, probe};
use probegram_tests::process::{Running, Signal, binary};
use probegram_tests::until;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a program may take to end. It bounds a hang; that it takes less than 10 s the program itself sees to.
const PATIENCE: Duration = Duration::from_secs(60);

const LAPTOP: Mac = Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15]);
/// 2023-11-14 22:13:20 UTC.
const EVENING: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn named(bytes: &[u8]) -> SsidElement {
    SsidElement::Named(Ssid::new(bytes).unwrap())
}

/// Runs it to its end, which must be an error: what it says.
fn refused(command: &mut Command) -> String {
    let mut program = Running::start(command);
    let status = program.wait(PATIENCE);
    assert_eq!((status.code(), program.stdout().as_str()), (Some(2), ""), "{}", program.stderr());
    program.stderr()
}

fn spooled(records: &[Vec<u8>]) -> (TempDir, Local) {
    let data = TempDir::new().unwrap();
    let end = fill_spool(data.path(), records);
    let local = Local::in_directory(data.path());
    local.wait_until_caught_up(end);
    (data, local)
}

#[test]
fn ready_is_the_only_line_and_a_signal_ends_it_cleanly() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let data = TempDir::new().unwrap();
        let mut local = Local::in_directory(data.path());
        local.program.signal(signal);
        assert_eq!(local.program.wait(PATIENCE).code(), Some(0), "{signal}: {}", local.program.stderr());
        let port: u16 = local.address().strip_prefix("http://127.0.0.1:").unwrap().parse().unwrap();
        assert_ne!(port, 0);
        assert_eq!(local.program.stdout(), format!("ready http://127.0.0.1:{port}\n"));
        assert!(!local.program.stderr().contains("did not end in time"), "{}", local.program.stderr());
    }
}

#[test]
fn at_a_terminal_there_is_a_chat_that_ctrl_d_leaves() {
    let data = TempDir::new().unwrap();
    let output = data.path().join("output");
    for options in [format!("local --http 127.0.0.1:0 --data {}", data.path().display()), "demo".to_owned()] {
        // script (of Debian's essential package bsdutils) gives it a terminal
        let mut script = Command::new("script")
            .args(["-qec", &format!("{} {options}", binary("probegram").display()), "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(fs::File::create(&output).unwrap())
            .spawn()
            .unwrap();
        let said = || String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
        let mut keyboard = script.stdin.take().unwrap();
        // what is typed before the next prompt is lost to the terminal's change of modes
        for (answer, keys) in
            [("", "00:11:22:33:44:55\r"), ("No result found for device 00:11:22:33:44:55", "\x04")]
        {
            until(PATIENCE, answer, || said().split_once(answer)?.1.contains("> ").then_some(()));
            keyboard.write_all(keys.as_bytes()).unwrap();
        }
        let status = until(PATIENCE, "the end of the chat", || script.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", said());
        assert!(said().contains("Ctrl-D leaves"), "{}", said());
    }
}

#[test]
fn a_device_is_told_in_the_shape_of_the_contract() {
    let random = Mac::new([0x62, 0x45, 0xb6, 0xc6, 0x7e, 0x03]);
    let mut silent = probe(random, EVENING, SsidElement::Absent);
    silent.signal_dbm = None;
    let mut records: Vec<_> = [
        probe(LAPTOP, EVENING, named(b"RNM0")),
        probe(LAPTOP, EVENING + 1, named(b"RNM0")),
        probe(LAPTOP, EVENING + 2 * DAY_MS, SsidElement::Wildcard),
        probe(LAPTOP, EVENING - DAY_MS, named(b"caf\xe9")),
        probe(LAPTOP, EVENING + 987, SsidElement::Absent),
        silent,
    ]
    .iter()
    .map(encoded)
    .collect();
    let mut loud = probe(LAPTOP, EVENING + 2, named(b"A"));
    loud.signal_dbm = Some(-41);
    records.push(encoded(&loud));
    let (_data, local) = spooled(&records);

    let told = r#"{"mac":"a4:83:e7:4e:39:15","name":null,"names":[],"vendor":"Apple, Inc.","locally_administered":false,"is_guest":null,"model":null,"type":null,"probe_count":6,"wildcard_count":1,"no_ssid_count":1,"first_probe":"2023-11-13T22:13:20.000Z","last_probe":"2023-11-16T22:13:20.000Z","signal_min_dbm":-60,"signal_max_dbm":-41,"signal_mean_dbm":-56.8,"unique_ssids":3,"ssids":[{"ssid":"RNM0","ssid_hex":"524e4d30","probe_count":2,"first_probe":"2023-11-14T22:13:20.000Z","last_probe":"2023-11-14T22:13:20.001Z"},{"ssid":"A","ssid_hex":"41","probe_count":1,"first_probe":"2023-11-14T22:13:20.002Z","last_probe":"2023-11-14T22:13:20.002Z"},{"ssid":"caf�","ssid_hex":"636166e9","probe_count":1,"first_probe":"2023-11-13T22:13:20.000Z","last_probe":"2023-11-13T22:13:20.000Z"}]}"#;
    for spelling in ["a4:83:e7:4e:39:15", "A4-83-E7-4E-39-15", "a483e74e3915", "a4%3A83%3ae7:4e:39:15"] {
        let answer = local.get(&format!("/v1/devices/{spelling}"));
        assert_eq!((answer.status, answer.body.as_str()), (200, told), "{spelling}");
    }
    let quiet = r#"{"mac":"62:45:b6:c6:7e:03","name":null,"names":[],"vendor":null,"locally_administered":true,"is_guest":null,"model":null,"type":null,"probe_count":1,"wildcard_count":0,"no_ssid_count":1,"first_probe":"2023-11-14T22:13:20.000Z","last_probe":"2023-11-14T22:13:20.000Z","signal_min_dbm":null,"signal_max_dbm":null,"signal_mean_dbm":null,"unique_ssids":0,"ssids":[]}"#;
    assert_eq!(local.device(random).body, quiet);
    let looked = r#"{"ssid":"RNM0","ssid_hex":"524e4d30","devices":[{"mac":"a4:83:e7:4e:39:15","name":null,"names":[],"vendor":"Apple, Inc.","locally_administered":false,"is_guest":null,"model":null,"type":null,"probe_count":2,"first_probe":"2023-11-14T22:13:20.000Z","last_probe":"2023-11-14T22:13:20.001Z"}],"next":null}"#;
    assert_eq!(local.get("/v1/ssids/RNM0").body, looked);
    assert_eq!(local.get("/v1/ssids?hex=524E4d30").body, looked);
}

#[test]
fn what_cannot_be_answered_is_an_error_with_its_reason() {
    let (_data, local) = spooled(&[encoded(&probe(LAPTOP, EVENING, SsidElement::Wildcard))]);
    let too_long = "a".repeat(256);
    for (path, status) in [
        ("/v1/devices/00:11:22:33:44:55", 404),
        ("/v1/devices/", 400),
        ("/v1/devices/kitchen", 400),
        ("/v1/devices/a4:83:e7:4e:39", 400),
        ("/v1/devices/a4:83:e7:4e:39:15/", 400),
        ("/v1/devices/%ff", 400),
        ("/v1/ssids/", 400),
        ("/v1/ssids", 400),
        ("/v1/ssids?hex=", 400),
        ("/v1/ssids?hex=5", 400),
        ("/v1/ssids?hex=zz", 400),
        (&format!("/v1/ssids/{too_long}"), 400),
        ("/v1/nothing", 404),
        ("/v1/status/", 404),
        ("/", 404),
        ("/telegram", 404),
    ] {
        let answer = local.get(path);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status, status, "{path}: {body}");
        assert!(body["error"].as_str().is_some_and(|why| !why.is_empty()), "{path}: {body}");
    }
    assert_eq!(local.post("/v1/status", &[], "").status, 404);
    assert_eq!(
        local.get("/v1/ssids/unheard").body,
        r#"{"ssid":"unheard","ssid_hex":"756e6865617264","devices":[],"next":null}"#
    );
    assert_eq!(local.get("/v1/ssids/a?after=").status, 200);
    assert_eq!(local.get("/v1/ssids/a?after=%00%ff").status, 200);
}

#[test]
fn who_looked_for_an_ssid_is_told_newest_first_and_page_by_page() {
    let device = |number: u8| Mac::new([0x00, 0x1b, 0xa9, 0, 0, number]);
    // 120 devices over 8 days, and 40 of them before that too
    let earlier = (0..40).map(|number| probe(device(number), EVENING - 10 * DAY_MS, named(b"RNM0")));
    let records: Vec<_> = earlier
        .chain((0..120).map(|number| {
            probe(
                device(number),
                EVENING + i64::from(number / 15) * DAY_MS + i64::from(number),
                named(b"RNM0"),
            )
        }))
        .map(|probe| encoded(&probe))
        .collect();
    let (_data, local) = spooled(&records);
    let (mut shown, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let page = local.json(&format!("/v1/ssids/RNM0{after}"));
        pages += 1;
        shown.extend(page["devices"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("?after={}", next.replace('#', "%23"));
    }
    assert!(pages > 1);
    let macs: Vec<&str> = shown.iter().map(|row| row["mac"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..120).rev().map(|number| device(number).to_string()).collect();
    assert_eq!(macs, expected);
    assert_eq!((&shown[0]["probe_count"], &shown[119]["probe_count"]), (&json!(1), &json!(2)));
}

#[test]
fn any_bytes_can_be_an_ssid_and_are_found_by_hex_and_text_by_path() {
    let long: Vec<u8> = (1..=255).collect();
    let ssids: [&[u8]; 16] = [
        b"a/b",
        b"a#b",
        b"a%b",
        b"a%2Fb",
        b"a b",
        b"a+b",
        b"a?b",
        b"..",
        b".",
        b"\0\0\0\0",
        b"caf\xc3\xa9",
        b"caf\xe9",
        b"<MISSING>",
        b"524e4d30",
        &[0xff; 255],
        &long,
    ];
    let records: Vec<_> = ssids.iter().map(|ssid| encoded(&probe(LAPTOP, EVENING, named(ssid)))).collect();
    let (_data, local) = spooled(&records);
    for ssid in ssids {
        let hex: String = ssid.iter().map(|byte| format!("{byte:02x}")).collect();
        let encoded: String = ssid.iter().map(|byte| format!("%{byte:02X}")).collect();
        let by_hex = local.json(&format!("/v1/ssids?hex={hex}"));
        assert_eq!(by_hex["ssid_hex"], hex);
        assert_eq!(by_hex["devices"][0]["probe_count"], 1, "{hex}");
        let by_path = format!("/v1/ssids/{encoded}");
        if std::str::from_utf8(ssid).is_err() {
            let answer = local.get(&by_path);
            assert!(answer.status == 400 && answer.body.contains("hex="), "{hex}: {}", answer.body);
        } else if !ssid.starts_with(b".") {
            // a client resolves dots as steps between directories, however they are written (RFC 3986, 5.2.4)
            assert_eq!(local.json(&by_path), by_hex);
        }
    }
    let device = local.json(&format!("/v1/devices/{LAPTOP}"));
    assert_eq!(device["unique_ssids"], ssids.len());
    assert_eq!(device["ssids"].as_array().unwrap().len(), ssids.len());
}

#[test]
fn status_tells_how_far_the_table_is() {
    let data = TempDir::new().unwrap();
    let local = Local::in_directory(data.path());
    local.wait_until_caught_up(0);
    assert_eq!(local.status()["partitions"], json!([]), "no spool yet");

    fill_spool(data.path(), &[]);
    let partition = |through: i64, end: i64| json!([{"topic": "pcap", "partition": 0, "life": 1, "through": through, "end": end, "lag": 0, "log": "spool"}]);
    until(PATIENCE, "the spool", || (local.status()["partitions"] == partition(-1, 0)).then_some(()));

    let filtered = br#"{"timestamp":"1700000000000","wlan_fc_type_subtype":["29"]}"#.to_vec();
    let poison = br#"{"timestamp":"x","wlan_fc_type_subtype":["4"]}"#.to_vec();
    for record in
        [filtered, poison, encoded(&probe(LAPTOP, EVENING, SsidElement::Wildcard)), b"not json".to_vec()]
    {
        let end = fill_spool(data.path(), &[record]);
        local.wait_until_caught_up(end);
        assert_eq!(local.status()["partitions"], partition(end - 1, end));
    }
    let status = local.get("/v1/status").body;
    assert!(status.starts_with(r#"{"caught_up":true,"#), "{status}");
    let status = local.status();
    let groups: Vec<_> = status["groups"].as_object().unwrap().iter().collect();
    assert!(groups.len() == 2 && groups[0].0.starts_with("probegram-alert-"), "{status}");
    assert_eq!(*groups[0].1, partition(4, 5), "alert reads the same spool for itself");
    let (group, partitions) = groups[1];
    assert!(group.starts_with("probegram-materialize-") && group.ends_with("-sensors"), "{status}");
    assert_eq!((&partitions[0]["topic"], &partitions[0]["end"]), (&json!("sensors"), &json!(0)), "{status}");

    drop(local);
    let local = Local::in_directory(data.path());
    local.wait_until_caught_up(5);
    assert_eq!(local.status()["partitions"], partition(4, 5), "and after a start anew");
    assert_eq!(local.json(&format!("/v1/devices/{LAPTOP}"))["probe_count"], 1);
}

#[test]
fn only_this_machine_is_answered() {
    let data = TempDir::new().unwrap();
    let local = Local::in_directory(data.path());
    let port = local.address().rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "localhost", "LocalHost", "[::1]", "127.0.0.2"] {
        assert_eq!(local.get_of_host(&format!("{host}:{port}"), "/v1/status").status, 200, "{host}");
        assert_eq!(local.get_of_host(host, "/v1/status").status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "192.0.2.1",
        "127.0.0.1@evil",
        "",
    ] {
        let answer = local.get_of_host(host, "/v1/status");
        assert_eq!(answer.status, 421, "{host}");
        assert!(
            answer.body.contains("error") && !answer.body.contains("partitions"),
            "{host}: {}",
            answer.body
        );
    }
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let data = TempDir::new().unwrap();
        let said = refused(
            Command::new(binary("probegram")).args(["local", "--http", address, "--data"]).arg(data.path()),
        );
        assert!(said.contains("--http listens on this machine alone"), "{said}");
    }
    let taken = local.address().strip_prefix("http://").unwrap();
    let said = refused(
        Command::new(binary("probegram"))
            .args(["local", "--in-memory", "--spool"])
            .arg(data.path())
            .args(["--http", taken]),
    );
    assert!(said.contains("is it taken"), "{said}");
}

#[test]
fn two_instances_do_not_share_a_directory() {
    let data = TempDir::new().unwrap();
    let local = Local::in_directory(data.path());
    let said = refused(local::command(["--data"]).arg(data.path()));
    assert!(said.contains("another probegram uses") && said.contains("--data"), "{said}");
    assert_eq!(local.get("/v1/status").status, 200);
}

#[test]
fn a_spool_that_is_replaced_by_another_is_counted_too() {
    let record = || encoded(&probe(LAPTOP, EVENING, SsidElement::Wildcard));
    let (data, local) = spooled(&[record(), record(), record()]);
    for entry in fs::read_dir(data.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("spool.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    until(PATIENCE, "the spool to be gone", || (local.status()["partitions"] == json!([])).then_some(()));
    let end = fill_spool(data.path(), &[record(), record()]);
    local.wait_until_caught_up(end);
    assert_eq!(local.json(&format!("/v1/devices/{LAPTOP}"))["probe_count"], 5);
    drop(local);
    let local = Local::in_directory(data.path());
    local.wait_until_caught_up(end);
    assert_eq!(local.json(&format!("/v1/devices/{LAPTOP}"))["probe_count"], 5);
}

#[test]
fn what_cannot_be_read_is_quarantined_and_the_rest_is_counted() {
    let mut panics = probe(LAPTOP, EVENING, SsidElement::Wildcard);
    panics.sensor = Some("panic-in-the-decoder".to_owned());
    let good = encoded(&probe(LAPTOP, EVENING, SsidElement::Wildcard));
    let deep = [br#"{"wlan_fc_type_subtype":["4"],"wlan_ssid":"#, &b"[".repeat(100_000)[..]].concat();
    let poison: Vec<Vec<u8>> = [
        encoded(&panics),
        Vec::new(),
        b"\0".to_vec(),
        b"not json".to_vec(),
        br#"{"timestamp":"1","wlan_fc_type_subtype":["4"],"wlan_sa":["a4:83:e7:4e:39:15"]}"#.to_vec(), // 1970
        br#"{"timestamp":"9223372036854775807","wlan_fc_type_subtype":["4"],"wlan_sa":["a4:83:e7:4e:39:15"]}"#.to_vec(),
        br#"{"timestamp":"-9223372036854775808","wlan_fc_type_subtype":["4"],"wlan_sa":["a4:83:e7:4e:39:15"]}"#.to_vec(),
        br#"{"timestamp":"99999999999999999999","wlan_fc_type_subtype":["4"]}"#.to_vec(),
        br#"{"timestamp":"1700000000000","wlan_fc_type_subtype":["4"],"wlan_sa":["zz"]}"#.to_vec(),
        deep,
        vec![b'x'; 2 << 20],
        b"\xff\xfe{\x00".to_vec(),
    ]
    .to_vec();
    let mut records = Vec::new();
    for _round in 0..5 {
        for poison in &poison {
            records.extend([poison.clone(), good.clone()]);
        }
    }
    let (data, local) = spooled(&records);
    assert_eq!(local.json(&format!("/v1/devices/{LAPTOP}"))["probe_count"], 5 * poison.len());
    let said = local.program.stderr();
    assert!(said.contains("quarantined") && said.contains("the decoder panicked"), "{said}");
    assert!(!said.contains("ERROR"), "{said}");
    drop(local);
    let local = Local::in_directory(data.path());
    local.wait_until_caught_up(i64::try_from(records.len()).unwrap() + 1);
    assert_eq!(local.json(&format!("/v1/devices/{LAPTOP}"))["probe_count"], 5 * poison.len());
}

#[test]
fn a_directory_that_cannot_be_used_is_said_with_what_to_do() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("file");
    fs::write(&file, "no directory").unwrap();
    let said = refused(local::command(["--data"]).arg(&file));
    assert!(said.contains("data directory"), "{said}");

    let broken = data.path().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("state.db"), "this is no database, and longer than a header of SQLite".repeat(50))
        .unwrap();
    let said = refused(
        local::command(["--in-memory", "--telegram-api-url", "x", "--telegram-token-file"]).arg(&file),
    );
    assert!(said.contains("is no URL"), "{said}");
    let said = refused(local::command(["--data"]).arg(&broken));
    assert!(said.contains("state.db"), "{said}");

    let said =
        refused(local::command(["--in-memory", "--telegram-token-file"]).arg(data.path().join("missing")));
    assert!(said.contains("missing") && said.contains("cannot be read"), "{said}");
}

#[test]
fn a_dynamodb_of_ones_own_gives_the_same_answers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let database = dynoxide::Database::memory().unwrap();
    let server = runtime.spawn(dynoxide::server::serve_with_shutdown(listener, database, async {
        stopped.await.unwrap_or_default();
    }));

    let data = TempDir::new().unwrap();
    let records: Vec<_> = (0..300)
        .map(|number| {
            let mac = Mac::new([0x00, 0x1b, 0xa9, 0, 0, u8::try_from(number % 60).unwrap()]);
            encoded(&probe(mac, EVENING + i64::from(number) * 10_000_000, named(b"RNM0")))
        })
        .collect();
    let end = fill_spool(data.path(), &records);
    let (macs, ssids) = local::heard_in(std::str::from_utf8(&records.join(&b'\n')).unwrap());
    let at_endpoint = || {
        let mut command = local::command(["--dynamodb-endpoint", &endpoint, "--table", "state", "--spool"]);
        let environment =
            [("AWS_REGION", "eu-west-2"), ("AWS_ACCESS_KEY_ID", "local"), ("AWS_SECRET_ACCESS_KEY", "local")];
        command.arg(data.path()).envs(environment);
        command
    };
    let told =
        [local::command(["--in-memory", "--spool"]).arg(data.path()), &mut at_endpoint(), &mut at_endpoint()]
            .map(|command| {
                let local = Local::start(command);
                local.wait_until_caught_up(end);
                [local.devices(&macs), local.ssids(&ssids)].concat()
            });
    assert!(told[0].iter().all(|answer| answer.status == 200));
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2], "and after a start anew");

    stop.send(()).unwrap();
    runtime.block_on(server).unwrap().unwrap();
    let said = refused(&mut at_endpoint());
    assert!(said.contains("no DynamoDB answers at"), "{said}");
}
