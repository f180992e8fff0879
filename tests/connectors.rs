//! The files in `infra/connectors` against what `materialize` needs and what the services know. No service is asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// What `materialize` reads; topics are called so too, with `unifi.` before.
const COLLECTIONS: [&str; 2] = ["ace.user", "ace.device"];
/// What a name is made of, and the document that it belongs to.
const NEEDED: [&str; 8] = ["_id", "mac", "name", "hostname", "oui", "is_guest", "model", "type"];
/// With these a device proves to the controller that it is itself: none of anybody's business.
const KEYS_OF_DEVICES: [&str; 3] = ["x_authkey", "x_inform_authkey", "x_vwirekey"];
/// The configurations of Debezium.
const DEBEZIUM: [&str; 3] = [PLAIN, MSK, MANAGED];
const PLAIN: &str = "kafka-connect/unifi.properties";
const MSK: &str = "msk-connect/template.yaml";
const MANAGED: &str = "confluent/mongodb-cdc-source.json";
const ATLAS: &str = "confluent/mongodb-atlas-source.json";

type Settings = BTreeMap<String, String>;

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/connectors").join(file);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{file}: {why}"))
}

/// Lines of `name=value`. What Java's format has besides (`:`, blanks, a backslash) is not used, so it is a mistake.
fn properties(text: &str) -> Settings {
    let mut settings = Settings::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("no setting: {line}"));
        assert!(name.trim() == name && value.trim() == value && !line.contains('\\'), "{line}");
        assert_eq!(settings.insert(name.to_owned(), value.to_owned()), None, "{name} stands twice");
    }
    settings
}

/// The template's resources. CloudFormation's short tags are dropped: `!Ref X` is `X`, `!Join ['', [a, b]]` is the array.
fn resources() -> Value {
    let template: Value = serde_saphyr::from_str(&text(MSK)).unwrap();
    template["Resources"].clone()
}

fn settings(file: &str) -> Settings {
    let of_json = |settings: &Value| {
        let settings = settings.as_object().unwrap().iter();
        settings.map(|(name, value)| (name.clone(), joined(value))).collect()
    };
    match file {
        PLAIN => properties(&text(file)),
        MSK => of_json(&resources()["Connector"]["Properties"]["ConnectorConfiguration"]),
        _ => of_json(&serde_json::from_str(&text(file)).unwrap()),
    }
}

/// A text as it stands, or the parts of a `!Join`. Connectors take no other kind of value.
fn joined(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(join) => join[1].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect(),
        other => panic!("a setting is text, in YAML in quotes: {other}"),
    }
}

/// The Atlas source's pipeline: its `$match` and its `$project`.
fn atlas_pipeline() -> (Value, BTreeMap<String, Value>) {
    let stages: Vec<Value> = serde_json::from_str(&settings(ATLAS)["pipeline"]).unwrap();
    let [select, keep] = stages.as_slice() else { panic!("{stages:?}") };
    let keep = serde_json::from_value(keep["$project"].clone()).unwrap();
    (select["$match"].clone(), keep)
}

#[test]
fn both_collections_become_the_topics_that_materialize_reads() {
    for file in DEBEZIUM {
        let settings = settings(file);
        assert_eq!(settings["database.include.list"], "ace", "{file}");
        let collections = settings["collection.include.list"].replace("[.]", ".");
        assert_eq!(collections.split(',').collect::<Vec<_>>(), COLLECTIONS, "{file}");
        assert_eq!(settings["topic.prefix"], "unifi", "{file}");
        assert_eq!(settings.keys().find(|name| name.starts_with("transforms")), None, "{file}");
        assert_eq!(settings["capture.mode"], "change_streams_update_full", "{file}");
        assert_eq!((settings["snapshot.mode"].as_str(), settings["tasks.max"].as_str()), ("initial", "1"));
    }
    for file in [PLAIN, MSK] {
        let settings = settings(file);
        assert_eq!(settings["connector.class"], "io.debezium.connector.mongodb.MongoDbConnector");
        // a dot in a name is a dot, and the user needs no more than the database
        assert_eq!(settings["filters.match.mode"], "literal", "{file}");
        assert_eq!(
            (settings["capture.scope"].as_str(), settings["capture.target"].as_str()),
            ("database", "ace")
        );
    }
    let atlas = settings(ATLAS);
    assert_eq!((atlas["database"].as_str(), atlas["topic.prefix"].as_str()), ("ace", "unifi"));
    for renames in ["topic.separator", "topic.suffix", "topic.namespace.map", "collection"] {
        assert_eq!(atlas.get(renames), None);
    }
    assert_eq!(atlas_pipeline().0, json!({"ns.coll": {"$in": ["user", "device"]}}));
    assert_eq!(atlas["startup.mode"], "copy_existing");
    assert_eq!(atlas["startup.mode.copy.existing.namespace.regex"], "^ace[.](user|device)$");
}

#[test]
fn keys_and_values_are_json_without_schemas() {
    let worker = properties(&text("kafka-connect/worker.properties"));
    let of_msk = &resources()["WorkerConfiguration"]["Properties"]["PropertiesFileContent"]["Fn::Base64"];
    let worker_of_msk = properties(of_msk.as_str().unwrap());
    for settings in [&settings(PLAIN), &settings(MSK), &worker, &worker_of_msk] {
        for side in ["key", "value"] {
            assert_eq!(settings[&format!("{side}.converter")], "org.apache.kafka.connect.json.JsonConverter");
            assert_eq!(settings[&format!("{side}.converter.schemas.enable")], "false");
        }
    }
    let managed = settings(MANAGED);
    assert_eq!(
        (managed["output.data.format"].as_str(), managed["output.key.format"].as_str()),
        ("JSON", "JSON")
    );
}

#[test]
fn the_atlas_sources_key_is_the_document_and_its_value_the_whole_change() {
    let atlas = settings(ATLAS);
    for (name, value) in [
        ("change.stream.document.key.as.key", "true"),
        // JSON, AVRO and the like take the key by a schema, whose default is the stream's position
        ("output.data.format", "STRING"),
        ("output.key.format", "STRING"),
        ("change.stream.full.document", "updateLookup"),
        ("publish.full.document.only", "false"),
    ] {
        assert_eq!(atlas[name], value, "{name}");
    }
}

#[test]
fn a_deletion_is_followed_by_a_tombstone() {
    for file in DEBEZIUM {
        assert_eq!(settings(file)["tombstones.on.delete"], "true", "{file}");
    }
}

#[test]
fn what_a_name_is_made_of_is_sent_and_the_keys_of_devices_are_not() {
    for file in DEBEZIUM {
        let left_out = settings(file)["field.exclude.list"].clone();
        let left_out: BTreeSet<&str> = left_out.split(',').collect();
        for path in &left_out {
            let field = COLLECTIONS.iter().find_map(|name| path.strip_prefix(name)?.strip_prefix('.'));
            let field = field.unwrap_or_else(|| panic!("{file}: {path} is in no collection"));
            assert!(!NEEDED.contains(&field), "{file}: a name needs {path}");
        }
        for key in KEYS_OF_DEVICES {
            assert!(left_out.contains(format!("ace.device.{key}").as_str()), "{file}: {key} is sent");
        }
    }
    let (_, keep) = atlas_pipeline();
    assert!(keep.values().all(|kept| kept == 1), "{keep:?}");
    let below = |prefix: &str| -> BTreeSet<&str> {
        keep.keys().filter_map(|path| path.strip_prefix(prefix)?.strip_prefix('.')).collect()
    };
    assert_eq!(below("fullDocument"), BTreeSet::from(NEEDED));
    assert_eq!(
        below("updateDescription.updatedFields"),
        NEEDED.into_iter().filter(|name| *name != "_id").collect()
    );
    for of_the_change in
        ["operationType", "ns", "documentKey", "clusterTime", "updateDescription.removedFields"]
    {
        assert!(keep.contains_key(of_the_change), "{of_the_change}");
    }
    assert_eq!(keep.len(), 2 * NEEDED.len() - 1 + 5, "nothing else is sent: {keep:?}");
}

#[test]
fn no_file_holds_a_secret() {
    let references = [
        (PLAIN, &["mongodb.connection.string", "mongodb.user", "mongodb.password"][..]),
        (MSK, &["mongodb.user", "mongodb.password"]),
        (
            MANAGED,
            &[
                "kafka.api.key",
                "kafka.api.secret",
                "mongodb.connection.string",
                "mongodb.user",
                "mongodb.password",
            ],
        ),
        (
            ATLAS,
            &[
                "kafka.api.key",
                "kafka.api.secret",
                "connection.host",
                "connection.user",
                "connection.password",
            ],
        ),
    ];
    for (file, names) in references {
        let settings = settings(file);
        for name in names {
            let value = &settings[*name];
            assert!(value.starts_with("${") && value.ends_with('}'), "{file}: {name} is no reference");
        }
        let secret =
            |name: &str| ["password", "secret", "key", "token"].iter().any(|word| name.ends_with(word));
        for name in settings.keys().filter(|name| secret(name) && !name.ends_with(".as.key")) {
            assert!(names.contains(&name.as_str()), "{file}: {name} is not known to be a reference");
        }
    }
    let worker = text("kafka-connect/worker.properties");
    let logins: Vec<&str> = worker.lines().filter(|line| line.contains("jaas.config=")).collect();
    assert_eq!(logins.len(), 2);
    assert!(
        logins.iter().all(|line| line.ends_with("=${file:/etc/probegram-connect/kafka.properties:jaas}"))
    );
    let worker = properties(&worker);
    assert_eq!(worker["config.providers.file.param.allowed.paths"], "/etc/probegram-connect");
    assert!(worker["listeners"].starts_with("http://127.0.0.1:"), "anybody could run a connector");
    let template: Value = serde_saphyr::from_str(&text(MSK)).unwrap();
    let pattern = &template["Parameters"]["MongoDbConnectionString"]["AllowedPattern"];
    assert_eq!(pattern, r"^mongodb(\+srv)?://[^@]+$", "a connection string may hold a password before the @");
}

/// A resource type of MSK Connect: what it must have and what it may have, `/` between the levels.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_KafkaConnect.html>
struct Known {
    kind: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

const KNOWN: &[Known] = &[
    Known {
        kind: "AWS::KafkaConnect::CustomPlugin",
        required: &["Name", "ContentType", "Location/S3Location/BucketArn", "Location/S3Location/FileKey"],
        optional: &["Description", "Location/S3Location/ObjectVersion", "Tags"],
    },
    Known {
        kind: "AWS::KafkaConnect::WorkerConfiguration",
        required: &["Name", "PropertiesFileContent"],
        optional: &["Description", "Tags"],
    },
    Known {
        kind: "AWS::KafkaConnect::Connector",
        required: &[
            "Capacity/ProvisionedCapacity/WorkerCount",
            "ConnectorConfiguration",
            "ConnectorName",
            "KafkaCluster/ApacheKafkaCluster/BootstrapServers",
            "KafkaCluster/ApacheKafkaCluster/Vpc/SecurityGroups",
            "KafkaCluster/ApacheKafkaCluster/Vpc/Subnets",
            "KafkaClusterClientAuthentication/AuthenticationType",
            "KafkaClusterEncryptionInTransit/EncryptionType",
            "KafkaConnectVersion",
            "Plugins/CustomPlugin/CustomPluginArn",
            "Plugins/CustomPlugin/Revision",
            "ServiceExecutionRoleArn",
        ],
        optional: &[
            "Capacity/ProvisionedCapacity/McuCount",
            "ConnectorDescription",
            "LogDelivery/WorkerLogDelivery/CloudWatchLogs/Enabled",
            "LogDelivery/WorkerLogDelivery/CloudWatchLogs/LogGroup",
            "NetworkType",
            "Tags",
            "WorkerConfiguration/Revision",
            "WorkerConfiguration/WorkerConfigurationArn",
        ],
    },
];

/// Every property that has a value, by its path. A map of CloudFormation's functions is a value, and so is a connector's configuration.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields)
            if path != "ConnectorConfiguration" && !fields.keys().any(|name| name.starts_with("Fn::")) =>
        {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                paths(value, &path, found);
            }
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            values.iter().for_each(|value| paths(value, path, found));
        }
        _ => assert!(found.insert(path.to_owned()), "{path} stands twice"),
    }
}

#[test]
fn the_template_has_what_cloudformation_wants_and_nothing_that_it_does_not_know() {
    let resources = resources();
    let of_msk_connect = resources.as_object().unwrap().values();
    let of_msk_connect: Vec<&Value> = of_msk_connect
        .filter(|resource| resource["Type"].as_str().unwrap().starts_with("AWS::KafkaConnect::"))
        .collect();
    assert_eq!(of_msk_connect.len(), KNOWN.len());
    for known in KNOWN {
        let of_kind: Vec<_> =
            of_msk_connect.iter().filter(|resource| resource["Type"] == known.kind).collect();
        let [resource] = of_kind.as_slice() else { panic!("{}: not one", known.kind) };
        let mut found = BTreeSet::new();
        paths(&resource["Properties"], "", &mut found);
        for path in known.required {
            assert!(found.remove(*path), "{}: {path} is missing", known.kind);
        }
        for path in found {
            assert!(known.optional.contains(&path.as_str()), "{} knows no {path}", known.kind);
        }
    }
    let connector = &resources["Connector"]["Properties"];
    // one change stream is one task
    assert_eq!(connector["Capacity"]["ProvisionedCapacity"], json!({"McuCount": 1, "WorkerCount": 1}));
    assert_eq!(connector["KafkaConnectVersion"], "3.7.x");
    assert_eq!(connector["KafkaClusterClientAuthentication"]["AuthenticationType"], "IAM");
    assert_eq!(connector["KafkaClusterEncryptionInTransit"]["EncryptionType"], "TLS");
    assert!(resources["LogGroup"]["Properties"]["RetentionInDays"].is_u64(), "logs would be kept for ever");
}

#[test]
fn every_parameter_says_what_it_is() {
    let template: Value = serde_saphyr::from_str(&text(MSK)).unwrap();
    for (name, parameter) in template["Parameters"].as_object().unwrap() {
        assert!(parameter["Description"].as_str().is_some_and(|text| text.len() > 20), "{name}");
    }
}

/// The texts of a value, or of the array that `!Sub` with variables is; the variables are not among them.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_role_may_do_what_is_named_on_what_is_named() {
    let resources = resources();
    let role = &resources["Role"]["Properties"];
    let trust = &role["AssumeRolePolicyDocument"]["Statement"][0];
    assert_eq!(trust["Principal"], json!({"Service": "kafkaconnect.amazonaws.com"}));
    assert_eq!(trust["Condition"]["StringEquals"]["aws:SourceAccount"], "AWS::AccountId");
    assert_eq!(role.get("ManagedPolicyArns"), None);
    let mut granted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for policy in role["Policies"].as_array().unwrap() {
        for statement in policy["PolicyDocument"]["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow");
            assert!(statement.get("NotAction").is_none() && statement.get("NotResource").is_none());
            for resource in texts(&statement["Resource"]) {
                granted.entry(resource).or_default().extend(texts(&statement["Action"]));
            }
        }
    }
    assert!(granted.values().flatten().all(|action| !action.contains('*')), "{granted:?}");
    let secret = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${MongoDbSecretName}-??????";
    let write = ["kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"];
    let group = ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"];
    let mut own = BTreeSet::from(write);
    own.extend(["kafka-cluster:CreateTopic", "kafka-cluster:ReadData"]);
    assert_eq!(
        granted,
        BTreeMap::from([
            ("MskClusterArn", BTreeSet::from(["kafka-cluster:Connect", "kafka-cluster:DescribeCluster"])),
            ("${Topics}/unifi.ace.user", BTreeSet::from(write)),
            ("${Topics}/unifi.ace.device", BTreeSet::from(write)),
            ("${Topics}/__amazon_msk_connect_*", own),
            ("${Groups}/__amazon_msk_connect_*", BTreeSet::from(group)),
            ("${Groups}/connect-*", BTreeSet::from(group)),
            (secret, BTreeSet::from(["secretsmanager:GetSecretValue"])),
        ])
    );
}

#[test]
fn every_way_says_what_it_costs_what_was_never_run_and_how_to_see_that_it_works() {
    for folder in ["kafka-connect", "msk-connect", "confluent"] {
        let readme = text(&format!("{folder}/README.md"));
        for part in ["**Costs**", "2026-", "**Not run here**", "## Set it up", "## See that it works"] {
            assert!(readme.contains(part), "{folder}: {part}");
        }
        assert!(text("README.md").contains(&format!("({folder}/README.md)")), "{folder}");
    }
}
