//! The files in `infra/confluent` and `infra/msk`, and the pages of `infra`, against what the code and `template.yaml` say. No
//! service is asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const TERRAFORM: &str = "infra/confluent/main.tf";
const CONFLUENT: &str = "infra/confluent/topics.json";
const MSK: &str = "infra/msk/template.yaml";
const CONFLUENT_PAGE: &str = "infra/confluent/README.md";
const MSK_PAGE: &str = "infra/msk/README.md";
const PAGES: [&str; 7] = [
    "infra/README.md",
    CONFLUENT_PAGE,
    MSK_PAGE,
    "infra/connectors/README.md",
    "infra/connectors/confluent/README.md",
    "infra/connectors/kafka-connect/README.md",
    "infra/connectors/msk-connect/README.md",
];
/// What a sensor writes.
const OF_SENSORS: [&str; 2] = ["pcap", "sensors"];

/// By a topic's name, its partitions and its settings.
type Topics = BTreeMap<String, (u64, BTreeMap<String, String>)>;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(file: &str) -> String {
    fs::read_to_string(project().join(file)).unwrap_or_else(|why| panic!("{file}: {why}"))
}

/// A template. CloudFormation's short tags are dropped: `!Ref X` is `X`.
fn yaml(file: &str) -> Value {
    serde_saphyr::from_str(&text(file)).unwrap_or_else(|why| panic!("{file}: {why}"))
}

fn made_by_the_code() -> Topics {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let topics = probegram::topics::made();
    topics
        .map(|(name, partitions, settings)| {
            (name.to_owned(), (partitions as u64, settings.into_iter().map(owned).collect()))
        })
        .collect()
}

fn settings(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).expect("settings are texts")
}

/// The resources of one type.
fn of_type<'a>(template: &'a Value, wanted: &str) -> Vec<&'a Value> {
    let resources = template["Resources"].as_object().unwrap().values();
    resources.filter(|resource| resource["Type"] == wanted).collect()
}

/// The lines of ```` ```LANGUAGE ```` blocks, without their indentation.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<bool> = None;
    for line in page.lines().map(str::trim) {
        match (line.strip_prefix("```"), open) {
            (Some(_), Some(_)) => open = None,
            (Some(of), None) => open = Some(of == language),
            (None, Some(true)) => lines.push(line.to_owned()),
            (None, _) => {}
        }
    }
    assert_eq!(open, None, "a block of code does not end");
    lines
}

/// The names of `NAME: value`.
fn names(lines: &[String]) -> BTreeSet<String> {
    lines.iter().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
}

#[test]
fn topics_of_confluent_are_those_that_the_code_makes() {
    let file: Value = serde_json::from_str(&text(CONFLUENT)).unwrap();
    let topics: Topics = file
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, topic)| {
            (name.clone(), (topic["partitions"].as_u64().unwrap(), settings(&topic["config"])))
        })
        .collect();
    assert_eq!(topics, made_by_the_code());
    let terraform = text(TERRAFORM);
    assert!(terraform.contains(r#"topics = jsondecode(file("${path.module}/topics.json"))"#));
    for line in ["for_each = local.topics", "= each.value.partitions", "= each.value.config"] {
        assert!(terraform.contains(line), "{TERRAFORM} has no {line}");
    }
}

#[test]
fn topics_of_msk_are_those_that_the_code_makes() {
    let template = yaml(MSK);
    let topics: Topics = of_type(&template, "AWS::MSK::Topic")
        .into_iter()
        .map(|topic| {
            let topic = &topic["Properties"];
            let configs = topic["Configs"]["Fn::Base64"].as_str().expect("base64 of JSON");
            let configs = settings(&serde_json::from_str(configs).expect("JSON"));
            (
                topic["TopicName"].as_str().unwrap().to_owned(),
                (topic["PartitionCount"].as_u64().unwrap(), configs),
            )
        })
        .collect();
    assert_eq!(topics, made_by_the_code());
}

#[test]
fn an_unclean_election_gives_no_offset_away_twice() {
    let template = yaml(MSK);
    let configurations = of_type(&template, "AWS::MSK::Configuration");
    let properties = configurations[0]["Properties"]["ServerProperties"].as_str().unwrap();
    for line in ["unclean.leader.election.enable=false", "auto.create.topics.enable=false"] {
        assert!(properties.lines().any(|found| found == line), "{line} is missing");
    }
}

#[test]
fn a_sensor_may_write_to_its_topics_and_nothing_else() {
    let template = yaml(MSK);
    let policies = of_type(&template, "AWS::IAM::ManagedPolicy");
    let [policy] = policies.as_slice() else { panic!("one policy, the sensor's") };
    let statements = policy["Properties"]["PolicyDocument"]["Statement"].as_array().unwrap();
    let mut actions = BTreeSet::new();
    for statement in statements {
        actions.extend(statement["Action"].as_array().unwrap().iter().map(|action| action.as_str().unwrap()));
    }
    let allowed = ["Connect", "DescribeTopic", "WriteData", "WriteDataIdempotently"];
    assert_eq!(
        actions,
        allowed.map(|action| format!("kafka-cluster:{action}")).iter().map(String::as_str).collect()
    );
    // a topic is `!Sub ['${Topics}/pcap', …]`
    let topics = statements[1]["Resource"].as_array().unwrap();
    let topics: Vec<&str> = topics.iter().map(|topic| topic[0].as_str().unwrap()).collect();
    assert_eq!(topics, OF_SENSORS.map(|topic| format!("${{Topics}}/{topic}")));

    let terraform = text(TERRAFORM);
    assert!(
        terraform.contains(&format!("for topic in {OF_SENSORS:?}")),
        "{TERRAFORM}: other topics of sensors"
    );
    let commands = blocks(&text(CONFLUENT_PAGE), "sh");
    let of_sensor = commands
        .iter()
        .position(|line| line.contains("--service-account $SENSOR --operations write --topic"));
    let of_sensor = of_sensor.expect("what a sensor may do");
    assert_eq!(commands[of_sensor - 1], format!("for topic in {}; do", OF_SENSORS.join(" ")));
}

#[test]
fn the_functions_may_read_each_topic() {
    let commands = blocks(&text(CONFLUENT_PAGE), "sh");
    let reading = commands
        .iter()
        .position(|line| line.contains("$FUNCTIONS --operations read,describe-configs --topic"))
        .unwrap();
    let named = commands[reading - 1]
        .strip_prefix("for topic in ")
        .and_then(|line| line.strip_suffix("; do"))
        .unwrap();
    let named: BTreeSet<&str> = named.split(' ').collect();
    let made = made_by_the_code();
    assert_eq!(named, made.keys().map(String::as_str).collect());
}

#[test]
fn parameters_on_the_pages_are_those_of_the_template() {
    let template = yaml("template.yaml");
    let known = template["Parameters"].as_object().unwrap();
    for page in ["infra/README.md", CONFLUENT_PAGE, MSK_PAGE] {
        let named = names(&blocks(&text(page), "yaml"));
        assert!(!named.is_empty(), "{page} names no parameter");
        for name in named {
            assert!(known.contains_key(&name), "{page}: template.yaml has no parameter {name}");
        }
    }
    // and each parameter that says where Kafka is stands on the page
    let of = |page: &str| names(&blocks(&text(page), "yaml")).into_iter().collect::<Vec<_>>();
    assert_eq!(of(CONFLUENT_PAGE), ["BootstrapServers", "KafkaApiKey", "KafkaApiSecret", "KafkaProvider"]);
    assert_eq!(of(MSK_PAGE), ["KafkaProvider", "MskClusterArn", "MskScramKeyArn", "MskScramSecretArn"]);
    // Terraform writes the same lines
    let terraform = text(TERRAFORM);
    for name in of(CONFLUENT_PAGE) {
        assert!(terraform.contains(&format!("    {name}: ")), "{TERRAFORM} writes no {name}");
    }
    // and MSK's stack has outputs by these names
    let msk = yaml(MSK);
    for name in of(MSK_PAGE).into_iter().filter(|name| name.starts_with("Msk")) {
        assert!(msk["Outputs"].get(&name).is_some(), "{MSK} has no output {name}");
    }
}

#[test]
fn parameters_of_the_cluster_on_its_page_are_there() {
    let template = yaml(MSK);
    let known = template["Parameters"].as_object().unwrap();
    let page = text(MSK_PAGE);
    let mut found = BTreeSet::new();
    // `NAME=value`, by itself in backticks or on a command's line
    for word in page.split(|letter: char| letter.is_whitespace() || letter == '`') {
        let Some((name, _)) = word.split_once('=') else { continue };
        let starts_upper = name.starts_with(|letter: char| letter.is_ascii_uppercase());
        if starts_upper
            && name.chars().all(char::is_alphanumeric)
            && name.contains(|letter: char| letter.is_lowercase())
        {
            assert!(known.contains_key(name), "{MSK_PAGE}: {MSK} has no parameter {name}");
            found.insert(name);
        }
    }
    for name in
        ["VpcId", "SubnetIds", "Network", "Login", "ClusterKind", "PublicAccess", "SensorCidr", "StorageGiB"]
    {
        assert!(found.contains(name), "{MSK_PAGE} says nothing about {name}");
    }
}

/// How the pages are shown makes an anchor of a heading: lower case, without punctuation, blanks as hyphens.
fn anchor(heading: &str) -> String {
    let kept =
        heading.trim().chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for page in PAGES {
        let folder = project().join(page);
        let folder = folder.parent().unwrap();
        let content = text(page);
        for (_, rest) in content.match_indices("](").map(|(at, _)| content.split_at(at + 2)) {
            let target = rest.split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { project().join(page) } else { folder.join(file) };
            assert!(file.exists(), "{page}: {target} is not there");
            if !fragment.is_empty() {
                let there = fs::read_to_string(&file).unwrap();
                let headings = there.lines().filter_map(|line| line.strip_prefix('#'));
                let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#')));
                assert!(anchors.any(|found| found == fragment), "{page}: {target} has no such heading");
            }
        }
    }
    assert!(links > 20, "only {links} links were looked at");
}
