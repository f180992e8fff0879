//! What AWS would make of `template.yaml`, checked before AWS does: SAM's own translator expands it, CloudFormation's linter and a security
//! scan read the expansion, and rules of ours look at what those cannot know. Each rule of ours is also seen to tell of a mistake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::record::{self, Record};
use domain::{Probe, Ssid, SsidElement};
use probegram::short_form;
use probegram::template::Template;
use probegram_tests::process::binary;
use probegram_tests::shared;
use probegram_tests::template_checks::{Tools, complaints, waivers};
use serde_json::{Value, json};
use tempfile::TempDir;

const CLUSTER: &str =
    "arn:aws:kafka:eu-west-2:123456789012:cluster/probegram/751d2973-a626-431c-9d4e-d7975eb44dd7-2";
const SCRAM_SECRET: &str = "arn:aws:secretsmanager:eu-west-2:123456789012:secret:AmazonMSK_probegram-AbCdEf";
const SCRAM_KEY: &str = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const KEY: &str = "ABCDEFGHIJKLMNOP";
const SECRET: &str = "not-a-secret";
const TOKEN: &str = "110201543:not-a-token";

/// Each way to deploy, by its parameters.
const VARIANTS: [(&str, &[(&str, &str)]); 6] = [
    ("msk", &[("KafkaProvider", "msk"), ("MskClusterArn", CLUSTER)]),
    (
        "msk-scram",
        &[
            ("KafkaProvider", "msk"),
            ("MskClusterArn", CLUSTER),
            ("MskScramSecretArn", SCRAM_SECRET),
            ("MskScramKeyArn", SCRAM_KEY),
        ],
    ),
    ("confluent", CONFLUENT),
    (
        "pollers",
        &[
            CONFLUENT[0],
            CONFLUENT[1],
            CONFLUENT[2],
            CONFLUENT[3],
            ("ProvisionedPollers", "true"),
            ("Architecture", "x86_64"),
        ],
    ),
    (
        "rebuild",
        &[
            CONFLUENT[0],
            CONFLUENT[1],
            CONFLUENT[2],
            CONFLUENT[3],
            ("AggregateBlue", "3"),
            ("AggregateGreen", "4"),
            ("ReservedConcurrency", "true"),
        ],
    ),
    (
        "green",
        &[
            ("KafkaProvider", "msk"),
            ("MskClusterArn", CLUSTER),
            ("AggregateBlue", ""),
            ("AggregateGreen", "2"),
        ],
    ),
];

const CONFLUENT: &[(&str, &str)] = &[
    ("KafkaProvider", "confluent"),
    ("BootstrapServers", "pkc-12345.eu-west-2.aws.confluent.cloud:9092"),
    ("KafkaApiKey", KEY),
    ("KafkaApiSecret", SECRET),
];

/// What a mapping may say. All else is refused, above all what lets Lambda skip records: DestinationConfig, MaximumRetryAttempts,
/// MaximumRecordAgeInSeconds, BisectBatchOnFunctionError, FunctionResponseTypes.
/// <https://docs.aws.amazon.com/lambda/latest/dg/kafka-retry-configurations.html>
const MAPPING_SAYS: [&str; 13] = [
    "AmazonManagedKafkaEventSourceConfig",
    "BatchSize",
    "EventSourceArn",
    "FilterCriteria",
    "FunctionName",
    "MaximumBatchingWindowInSeconds",
    "ProvisionedPollerConfig",
    "SelfManagedEventSource",
    "SelfManagedKafkaEventSourceConfig",
    "SourceAccessConfigurations",
    "StartingPosition",
    "Topics",
    "Enabled",
];

fn parameters(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all = [("TelegramToken", TOKEN)].into_iter().chain(of.iter().copied());
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The template as SAM expands it, by variant. `None` where the tools cannot be had.
fn expansions(tools: &Tools) -> BTreeMap<String, String> {
    let wanted = VARIANTS.map(|(name, of)| (name.to_owned(), parameters(of)));
    tools.expand(&root().join("template.yaml"), &BTreeMap::from(wanted))
}

/// What the stack would have.
fn stack(expansion: &Value, variant: &str) -> Template {
    let of = VARIANTS.iter().find(|(name, _)| *name == variant).unwrap().1;
    Template::of_stack(&expansion.to_string(), &parameters(of), &BTreeMap::new()).unwrap()
}

#[test]
fn the_linter_and_the_security_scan_have_nothing_to_say_that_is_not_waived() {
    let Some(tools) = Tools::fetch() else { return };
    let folder = TempDir::new().unwrap();
    let mut files = Vec::new();
    // the linter reads parameters' defaults, and one that is empty is no ARN: so here both providers' are filled in
    let whole =
        [VARIANTS[1].1, CONFLUENT, &[("AlarmEmail", "somebody@example.com"), ("AggregateGreen", "2")]]
            .concat();
    let wanted = ["confluent", "msk"].map(|provider| {
        let mut parameters = parameters(&whole);
        parameters.insert("KafkaProvider".to_owned(), provider.to_owned());
        (provider.to_owned(), parameters)
    });
    for (name, expansion) in tools.expand(&root().join("template.yaml"), &BTreeMap::from(wanted)) {
        files.push(folder.path().join(format!("{name}.json")));
        fs::write(files.last().unwrap(), expansion).unwrap();
    }
    for (name, of) in [("msk-cluster", "infra/msk"), ("msk-connect", "infra/connectors/msk-connect")] {
        files.push(folder.path().join(format!("{name}.yaml")));
        fs::copy(root().join(of).join("template.yaml"), files.last().unwrap()).unwrap();
    }
    let lint = complaints(&tools.lint(&files), &[]);
    let scan = complaints(&tools.scan(folder.path()), &waivers());
    assert!(lint.is_empty() && scan.is_empty(), "linter:\n{}\nscan:\n{}", lint.join("\n"), scan.join("\n"));

    // and they tell of mistakes
    let mut wrong: Value = serde_json::from_str(&fs::read_to_string(&files[0]).unwrap()).unwrap();
    wrong["Resources"]["BotFunction"]["Properties"]["Timeout"] = json!(901);
    wrong["Resources"]["AlarmTopic"]["Properties"] = json!({"TopicNam": "misspelt"});
    wrong["Resources"]["BotRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"] =
        json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wrong.json");
    fs::write(&file, wrong.to_string()).unwrap();
    let lint = complaints(&tools.lint(&[file]), &[]).join("\n");
    assert!(lint.contains("901") && lint.contains("TopicNam"), "{lint}");
    let scan = complaints(&tools.scan(folder.path()), &waivers()).join("\n");
    assert!(scan.contains("AWS::IAM::Role.BotRole"), "{scan}");
}

#[test]
fn every_variant_keeps_the_rules_of_ours() {
    let Some(tools) = Tools::fetch() else { return };
    let mut told = Vec::new();
    for (variant, expansion) in expansions(&tools) {
        let expansion: Value = serde_json::from_str(&expansion).unwrap();
        told.extend(told_of(&expansion, &variant));
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// A mistake, of what the template says by a JSON pointer: the variant, the place, what stands there instead, and what is told.
type Mistake = (&'static str, &'static str, Value, &'static str);

#[test]
fn each_mistake_is_told() {
    let Some(tools) = Tools::fetch() else { return };
    let expansions = expansions(&tools);
    let mapping =
        |property: &str| format!("/Resources/AlertMapping/Properties/{property}").leak() as &'static str;
    let variable = |name: &str| {
        format!("/Resources/BotFunction/Properties/Environment/Variables/{name}").leak() as &'static str
    };
    let statement = |of: &str| {
        format!("/Resources/{of}/Properties/Policies/0/PolicyDocument/Statement").leak() as &'static str
    };
    let mistakes: [Mistake; 19] = [
        ("msk", mapping("MaximumRetryAttempts"), json!(3), "says MaximumRetryAttempts"),
        ("confluent", mapping("DestinationConfig"), json!({}), "says DestinationConfig"),
        ("msk", mapping("StartingPosition"), json!("LATEST"), "begins at LATEST"),
        ("msk", mapping("Topics"), json!(["pcap", "sensors"]), "has not one topic"),
        (
            "msk",
            mapping("AmazonManagedKafkaEventSourceConfig"),
            json!({"ConsumerGroupId": "StateTable-aggregate"}),
            "share the group",
        ),
        ("confluent", mapping("EventSourceArn"), json!(CLUSTER), "has an ARN"),
        ("confluent", mapping("SourceAccessConfigurations"), json!([]), "logs in by []"),
        ("msk-scram", mapping("SourceAccessConfigurations"), json!([]), "logs in by []"),
        ("pollers", mapping("ProvisionedPollerConfig"), json!({"Ref": "AWS::NoValue"}), "pollers"),
        ("msk", mapping("BatchSize"), json!(20_000), "BatchSize"),
        (
            "msk",
            mapping("FilterCriteria"),
            json!({"Filters": [{"Pattern": "{\"value\":{\"wlan_fc_type_subtype\":[\"4\"]}}"}]}),
            "is kept from AlertMapping",
        ),
        (
            "msk",
            variable("WEBHOOK_SECRET_SHA256"),
            json!({"Ref": "AWS::NoValue"}),
            "requires WEBHOOK_SECRET_SHA256",
        ),
        ("msk", variable("TABEL_NAME"), json!("x"), "does not look up TABEL_NAME"),
        ("msk", "/Resources/BotFunction/Properties/Timeout", json!(31), "29 s"),
        ("msk", "/Resources/BotFunction/Properties/Architectures", json!(["x86_64"]), "Architectures"),
        (
            "msk",
            statement("AggregateRole"),
            json!([{"Effect": "Allow", "Action": ["kafka-cluster:ReadData"], "Resource": "*"}]),
            "AggregateRole",
        ),
        (
            "msk",
            statement("BotRole"),
            json!([{"Effect": "Allow", "Action": ["kafka-cluster:ReadData"], "Resource": "*"}]),
            "BotRole",
        ),
        (
            "confluent",
            statement("BotRole"),
            json!([{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}]),
            "BotRole allows secretsmanager:GetSecretValue on *",
        ),
        ("confluent", "/Resources/StateTable/DeletionPolicy", json!("Delete"), "StateTable"),
    ];
    for (variant, place, value, expected) in mistakes {
        let mut expansion: Value = serde_json::from_str(&expansions[variant]).unwrap();
        let (parent, name) = place.rsplit_once('/').unwrap();
        let parent = expansion.pointer_mut(parent).unwrap_or_else(|| panic!("{place} is not there"));
        parent[name] = value;
        let told = told_of(&expansion, variant).join("\n");
        assert!(told.contains(expected), "{variant} {place}: told was only:\n{told}");
    }
}

/// What is wrong with an expansion, a line each.
fn told_of(expansion: &Value, variant: &str) -> Vec<String> {
    let stack = stack(expansion, variant);
    let told = [
        mappings(&stack, variant),
        filters(&stack),
        environments(&stack),
        kafka_permissions(&stack, variant),
        everything(&stack),
        limits(expansion, &stack, variant),
    ];
    told.concat().into_iter().map(|line| format!("{variant}: {line}")).collect()
}

fn of_type<'a>(stack: &'a Template, kind: &'static str) -> BTreeMap<&'a str, &'a Value> {
    stack.of_type(kind).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_msk(variant: &str) -> bool {
    matches!(variant, "msk" | "msk-scram" | "green")
}

fn group_of(mapping: &Value, variant: &str) -> String {
    let source = if is_msk(variant) {
        "AmazonManagedKafkaEventSourceConfig"
    } else {
        "SelfManagedKafkaEventSourceConfig"
    };
    text(mapping, &format!("/{source}/ConsumerGroupId")).to_owned()
}

/// One topic a mapping with a group of its own, from the beginning, nothing that skips records, and the right way to log in.
fn mappings(stack: &Template, variant: &str) -> Vec<String> {
    let mut told = Vec::new();
    let mut groups: BTreeMap<String, &str> = BTreeMap::new();
    let all = of_type(stack, "AWS::Lambda::EventSourceMapping");
    if all.len() != if variant == "rebuild" { 7 } else { 6 } {
        told.push(format!("there are {} mappings", all.len()));
    }
    for (name, mapping) in all {
        let says =
            mapping.as_object().unwrap().keys().filter(|property| !MAPPING_SAYS.contains(&property.as_str()));
        told.extend(
            says.map(|property| format!("{name} says {property}, which is not known to keep every record")),
        );
        if mapping["Topics"].as_array().map(Vec::len) != Some(1) {
            told.push(format!("{name} has not one topic: AWS takes one a mapping"));
        }
        if mapping["StartingPosition"] != "TRIM_HORIZON" {
            told.push(format!(
                "{name} begins at {}: what is there before it is lost",
                text(mapping, "/StartingPosition")
            ));
        }
        for (property, most) in [("BatchSize", 10_000), ("MaximumBatchingWindowInSeconds", 300)] {
            if !mapping[property].as_u64().is_some_and(|value| (1..=most).contains(&value)) {
                told.push(format!("{name}: {property} is {}, of 1 to {most}", mapping[property]));
            }
        }
        let group = group_of(mapping, variant);
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/*:_+=.@".contains(&byte);
        if group.is_empty() || group.len() > 200 || !group.bytes().all(is_allowed) {
            told.push(format!("{name}: {group:?} is no name that Lambda takes for a group"));
        }
        if let Some(other) = groups.insert(group.clone(), name) {
            told.push(format!("{name} and {other} share the group {group}"));
        }
        let (function, topic) = (text(mapping, "/FunctionName"), text(mapping, "/Topics/0"));
        let told_to_function = match stack.variable(function, "CONSUMER_GROUP") {
            Ok(group) => group,
            Err(_) => {
                format!("{}-{topic}", stack.variable(function, "CONSUMER_GROUP_PREFIX").unwrap_or_default())
            }
        };
        if group != told_to_function {
            told.push(format!(
                "{name} has the group {group}, and its function counts for {told_to_function}"
            ));
        }
        let has = |property: &str| mapping.get(property).is_some();
        if has("EventSourceArn") != is_msk(variant) {
            told.push(format!("{name} has an ARN of MSK, or has none"));
        }
        if has("SelfManagedEventSource") == is_msk(variant) {
            told.push(format!("{name} has brokers of Confluent, or has none"));
        }
        let login = mapping.get("SourceAccessConfigurations").cloned();
        let wanted = match variant {
            "msk" | "green" => None, // by IAM, the function's role
            "msk-scram" => Some(json!([{"Type": "SASL_SCRAM_512_AUTH", "URI": SCRAM_SECRET}])),
            _ => Some(json!([{"Type": "BASIC_AUTH", "URI": "KafkaSecret"}])),
        };
        if login != wanted {
            told.push(format!("{name} logs in by {}", login.unwrap_or_default()));
        }
        if has("ProvisionedPollerConfig") != (variant == "pollers") {
            told.push(format!("{name} has provisioned pollers, or has none"));
        }
    }
    told
}

/// Records that a function has to get, in each of their forms, and whether they name a network.
fn probe_requests() -> Vec<(Vec<u8>, bool)> {
    let mut all = Vec::new();
    let Ok(mac) = "a4:83:e7:4e:39:15".parse() else { panic!("no address") };
    for ssid in [SsidElement::Absent, SsidElement::Wildcard, SsidElement::Named(Ssid::new(*b"RNM0").unwrap())]
    {
        let is_named = matches!(ssid, SsidElement::Named(_));
        let probe = Probe {
            time: 1_585_166_331_620,
            source: Some(mac),
            receiver: None,
            bssid: None,
            ssid,
            signal_dbm: None,
            channel: None,
            sequence: None,
            fingerprint: None,
            sensor: None,
        };
        let mut ours = Vec::new();
        record::encode(&probe, "hallway", &mut ours);
        all.push((ours, is_named));
    }
    // what tshark and jq have written in the course of time: the type as text in several forms, or as a number
    for subtype in
        [json!(["4"]), json!(["0x0004"]), json!(["0x04"]), json!(["0x4"]), json!("4"), json!(4), json!([4])]
    {
        for (ssid, is_named) in [(json!(["RNM0"]), true), (json!([""]), false), (json!(["<MISSING>"]), false)]
        {
            let record = json!({"timestamp": "1585166331620", "wlan_fc_type_subtype": subtype, "wlan_sa": ["a4:83:e7:4e:39:15"], "wlan_ssid": ssid});
            all.push((record.to_string().into_bytes(), is_named));
        }
    }
    all
}

/// A filter lets pass what its function counts, and spares it the rest.
fn filters(stack: &Template) -> Vec<String> {
    let mut told = Vec::new();
    let of_a_beacon = br#"{"timestamp":"1585166331620","wlan_fc_type_subtype":["8"],"wlan_ssid":["RNM0"]}"#;
    let mappings = ["AggregateBlueMapping", "AggregateGreenMapping", "AlertMapping"]
        .map(|name| (name, stack.mapping(name)));
    for (name, mapping) in mappings.iter().filter_map(|(name, mapping)| Some((name, mapping.as_ref().ok()?)))
    {
        let passes = |value: &[u8]| mapping.filters.iter().any(|filter| filter.passes(value));
        for (value, is_named) in probe_requests() {
            let is_wanted = is_named || *name != "AlertMapping";
            if passes(&value) != is_wanted {
                let word = if is_wanted { "is kept from" } else { "reaches" };
                told.push(format!("{} {word} {name}", String::from_utf8_lossy(&value)));
            }
        }
        if passes(of_a_beacon) {
            told.push(format!("a beacon reaches {name}"));
        }
    }
    told
}

#[test]
fn records_of_others_pass_as_they_are_understood() {
    let Some(folder) = shared("events/kafka-pcap-topic") else { return };
    let template = Template::read().unwrap();
    let mappings = ["AggregateBlueMapping", "AlertMapping"].map(|name| template.mapping(name).unwrap());
    let mut passed = 0;
    for file in ["tshark_4.0.17_records.jsonl", "seed_2020_sample.json"] {
        for line in fs::read_to_string(folder.join(file)).unwrap().lines() {
            let [counted, alerted] =
                mappings.each_ref().map(|mapping| mapping.filters[0].passes(line.as_bytes()));
            match record::decode(line.as_bytes()) {
                Ok(Record::Probe(probe)) => {
                    assert!(counted, "{file}: {line}");
                    assert_eq!(alerted, matches!(probe.ssid, SsidElement::Named(_)), "{file}: {line}");
                    passed += 1;
                }
                Ok(Record::NotAProbeRequest) => assert!(!counted && !alerted, "{file}: {line}"),
                Err(_) => {} // what a function would put into its quarantine
            }
        }
    }
    assert!(passed > 3, "{passed}");
}

/// Every variable that a function requires is given, and none that it does not look up.
fn environments(stack: &Template) -> Vec<String> {
    let mut told = Vec::new();
    for (name, function) in of_type(stack, "AWS::Lambda::Function") {
        let given = function.pointer("/Environment/Variables").and_then(Value::as_object);
        let given: BTreeSet<&str> = given.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let program = program_of(name);
        let required = required_by(program);
        told.extend(
            required
                .iter()
                .filter(|variable| !given.contains(variable.as_str()))
                .map(|variable| format!("{name} requires {variable}")),
        );
        let source = source_of(program);
        let unknown = given.iter().filter(|variable| !source.contains(&format!("\"{variable}\"")));
        told.extend(unknown.map(|variable| format!("{name} does not look up {variable}")));
    }
    told
}

fn program_of(function: &str) -> &'static str {
    let programs = ["aggregate", "materialize", "alert", "bot"];
    let of = programs.into_iter().find(|program| function.to_ascii_lowercase().starts_with(program));
    of.unwrap_or_else(|| panic!("{function} is of no program"))
}

/// What a function says is missing when it has nothing.
fn required_by(program: &str) -> Vec<String> {
    let output = Command::new(binary(program)).env_clear().env("AWS_REGION", "eu-west-2").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let words: Vec<&str> = said.split([' ', '"', ';', '\n']).filter(|word| !word.is_empty()).collect();
    let missing = words
        .windows(3)
        .filter(|three| three[1] == "is" && three[2] == "missing")
        .map(|three| three[0].to_owned());
    let missing: Vec<String> = missing.collect();
    assert!(!missing.is_empty(), "{program} requires nothing? {said}");
    missing
}

/// The text of a function's own crate.
fn source_of(program: &str) -> String {
    let folder = root().join("functions").join(program).join("src");
    let files = fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    files.collect()
}

/// What each role may do at Kafka: with IAM its own topics and groups by name, and nothing at all where a secret is the login, or no mapping
/// is there. <https://docs.aws.amazon.com/lambda/latest/dg/with-msk-permissions.html>
fn kafka_permissions(stack: &Template, variant: &str) -> Vec<String> {
    let mut told = Vec::new();
    let functions = of_type(stack, "AWS::Lambda::Function");
    let cluster = CLUSTER.split_once(":cluster/").unwrap().1;
    for (role, properties) in of_type(stack, "AWS::IAM::Role") {
        let granted: BTreeSet<(String, String)> = statements(&properties["Policies"])
            .into_iter()
            .filter(|(action, _)| action.starts_with("kafka-cluster:") || action.contains('*'))
            .collect();
        let mut wanted = BTreeSet::new();
        for mapping in of_type(stack, "AWS::Lambda::EventSourceMapping").into_values() {
            let of_role =
                functions.get(text(mapping, "/FunctionName")).map(|function| text(function, "/Role"));
            if of_role != Some(format!("{role}.Arn").as_str()) || variant == "msk-scram" || !is_msk(variant) {
                continue;
            }
            let group = group_of(mapping, variant);
            // the groups of later generations, and those of a function's other topics
            let group = match role {
                "AggregateRole" => "StateTable-aggregate*",
                "MaterializeRole" => "StateTable-materialize-*",
                _ => group.as_str(),
            };
            let of = |kind: &str, name: &str| {
                format!("arn:AWS::Partition:kafka:AWS::Region:AWS::AccountId:{kind}/{cluster}/{name}")
            };
            for (actions, on) in [
                (["DescribeTopic", "ReadData"], of("topic", text(mapping, "/Topics/0"))),
                (["DescribeGroup", "AlterGroup"], of("group", group)),
            ] {
                wanted.extend(actions.map(|action| (format!("kafka-cluster:{action}"), on.clone())));
            }
        }
        told.extend(
            granted
                .difference(&wanted)
                .map(|(action, on)| format!("{role}: {action} on {on} is more than its mappings need")),
        );
        told.extend(
            wanted
                .difference(&granted)
                .map(|(action, on)| format!("{role}: its mappings need {action} on {on}")),
        );
    }
    let policy = of_type(stack, "AWS::IAM::ManagedPolicy")["KafkaPolicy"];
    let actions: BTreeSet<String> =
        statements(&json!([policy])).into_iter().map(|(action, _)| action).collect();
    let network = [
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "kafka:DescribeClusterV2",
        "kafka:GetBootstrapBrokers",
    ];
    let more: &[&str] = match variant {
        "msk" | "green" => &["kafka-cluster:Connect", "kafka-cluster:DescribeClusterDynamicConfiguration"],
        "msk-scram" => &["kafka:ListScramSecrets", "kms:Decrypt", "secretsmanager:GetSecretValue"],
        _ => &["secretsmanager:GetSecretValue"],
    };
    let network: &[&str] = if is_msk(variant) { &network } else { &[] };
    let wanted: BTreeSet<String> = [network, more].concat().into_iter().map(str::to_owned).collect();
    if actions != wanted {
        told.push(format!("KafkaPolicy allows {actions:?}, and what is needed is {wanted:?}"));
    }
    told
}

/// What may be done to everything: only what knows nothing narrower; and a log is its function's own. That the rest is what functions ask is seen in
/// tests/deploy_rehearsal.rs.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html>
fn everything(stack: &Template) -> Vec<String> {
    let of_roles =
        of_type(stack, "AWS::IAM::Role").into_iter().map(|(name, role)| (name, role["Policies"].clone()));
    let of_policies =
        of_type(stack, "AWS::IAM::ManagedPolicy").into_iter().map(|(name, policy)| (name, json!([policy])));
    let mut told = Vec::new();
    for (name, policies) in of_roles.chain(of_policies) {
        for (action, resource) in statements(&policies) {
            let knows_no_other =
                action.starts_with("ec2:Describe") || action == "lambda:ListEventSourceMappings";
            let own_log = format!("{}LogGroup.Arn", name.trim_end_matches("Role"));
            if action.contains('*')
                || resource == "*" && !knows_no_other
                || action.starts_with("logs:") && resource != own_log
            {
                told.push(format!("{name} allows {action} on {resource}"));
            }
        }
    }
    told
}

/// The actions and resources of policies.
fn statements(policies: &Value) -> Vec<(String, String)> {
    let list = |value: &Value| match value {
        Value::Array(many) => many.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let mut all = Vec::new();
    for statement in list(policies).iter().flat_map(|policy| list(&policy["PolicyDocument"]["Statement"])) {
        for action in list(&statement["Action"]) {
            for resource in list(&statement["Resource"]) {
                all.push((action.as_str().unwrap().to_owned(), resource.as_str().unwrap().to_owned()));
            }
        }
    }
    all
}

/// What AWS sets a limit to and the linter does not look at, and what must not be lost.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>,
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>,
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
fn limits(expansion: &Value, stack: &Template, variant: &str) -> Vec<String> {
    let mut told = Vec::new();
    let mut most = |what: String, is: usize, most: usize| {
        if is > most {
            told.push(format!("{what} is {is}, of {most}"));
        }
    };
    most("the template, in bytes,".to_owned(), expansion.to_string().len(), 1_000_000);
    for (section, number) in [("Parameters", 200), ("Resources", 500), ("Outputs", 200), ("Mappings", 200)] {
        most(format!("the number of {section}"), expansion[section].as_object().unwrap().len(), number);
    }
    for (name, function) in of_type(stack, "AWS::Lambda::Function") {
        let environment =
            function.pointer("/Environment/Variables").map_or(0, |variables| variables.to_string().len());
        most(format!("{name}'s environment, in bytes,"), environment, 4096);
    }
    let without_spaces =
        |document: &Value| document.to_string().chars().filter(|one| !one.is_whitespace()).count();
    for (name, role) in of_type(stack, "AWS::IAM::Role") {
        let size = role["Policies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|policy| without_spaces(&policy["PolicyDocument"]))
            .sum();
        most(format!("{name}'s policies, in characters,"), size, 10_240);
    }
    for (name, policy) in of_type(stack, "AWS::IAM::ManagedPolicy") {
        most(format!("{name}, in characters,"), without_spaces(&policy["PolicyDocument"]), 6_144);
    }
    for (name, alarm) in of_type(stack, "AWS::CloudWatch::Alarm") {
        let description = text(alarm, "/AlarmDescription");
        most(format!("{name}'s description, in characters,"), description.chars().count(), 1024);
    }
    let alarms = of_type(stack, "AWS::CloudWatch::Alarm").len();
    most("the number of alarms".to_owned(), alarms, if variant == "rebuild" { 12 } else { 10 });

    // API Gateway gives up after 30 s: what is not done by then is done for nobody
    let timeout = of_type(stack, "AWS::Lambda::Function")["BotFunction"]["Timeout"].as_u64();
    if timeout != Some(29) {
        told.push("BotFunction's timeout is not 29 s, within the HTTP API's 30 s".to_owned());
    }
    let architecture = if variant == "pollers" { "x86_64" } else { "arm64" };
    for (name, function) in of_type(stack, "AWS::Lambda::Function") {
        if function["Architectures"] != json!([architecture]) {
            told.push(format!("{name}: Architectures is {}", function["Architectures"]));
        }
        let own_group = format!("{}LogGroup", text(function, "/Role").trim_end_matches("Role.Arn"));
        if text(function, "/LoggingConfig/LogGroup") != own_group {
            told.push(format!("{name} does not log to {own_group}"));
        }
        if function.get("ReservedConcurrentExecutions").is_some() != (variant == "rebuild") {
            told.push(format!("{name}: ReservedConcurrency is not what was asked for"));
        }
    }
    let table = &expansion["Resources"]["StateTable"];
    let properties = of_type(stack, "AWS::DynamoDB::Table")["StateTable"];
    let keeps = table["DeletionPolicy"] == "Retain"
        && table["UpdateReplacePolicy"] == "Retain"
        && properties["DeletionProtectionEnabled"] == true
        && properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == true
        && properties["TimeToLiveSpecification"] == json!({"AttributeName": "expires", "Enabled": true});
    if !keeps {
        told.push("StateTable is not kept as it should be".to_owned());
    }
    told
}

#[test]
fn a_wrong_choice_of_parameters_is_refused() {
    let document = short_form::read(&fs::read_to_string(root().join("template.yaml")).unwrap()).unwrap();
    let rules: BTreeSet<&str> = document["Rules"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        rules,
        BTreeSet::from(["KafkaOfConfluentIsWhole", "KafkaOfMskIsWhole", "LoginByScramIsWhole"])
    );
    // no secret has a default, and nobody sees one again
    for secret in ["TelegramToken", "KafkaApiKey", "KafkaApiSecret"] {
        assert_eq!(document["Parameters"][secret]["NoEcho"], true, "{secret}");
    }
    for (name, parameter) in document["Parameters"].as_object().unwrap() {
        assert!(text(parameter, "/Description").len() > 20, "{name} does not say what it is");
        assert!(name == "TelegramToken" || parameter.get("Default").is_some(), "{name} has to be given");
    }
}
