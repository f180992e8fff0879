//! The operators' commands for a stack, against ministack and the fake Telegram: `probegram webhook`, `doctor`, `topics`, and what else takes
//! `--stack`. The stack has what the commands look at, of the template's names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::process::Output;
use std::time::Duration;

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StateValue};
use aws_sdk_dynamodb::types::{PointInTimeRecoverySpecification, TimeToLiveSpecification};
use probegram_tests::aws::Aws;
use probegram_tests::process::{Running, Signal};
use probegram_tests::secured_kafka::{Listener, PASSWORD, SecuredKafka, WATCHER};
use probegram_tests::telegram::{Fault, Gate, Kind, Outcome, TOKEN, Telegram};
use probegram_tests::until;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use state::Table;
use state::chats::{self, Role};
use state::generation;
use state::watchdog::{Remembered, Subject};
use tempfile::TempDir;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);
const STACK: &str = "home";
const OWNER: i64 = 4_242_424_242;
const WEBHOOK: &str = "https://a1b2c3d4e5.execute-api.eu-west-2.amazonaws.com/telegram";
const SECRETS: &str = "WebhookSecretSha256";
const MAPPINGS: [(&str, &str); 6] = [
    ("AggregateBlueMapping", "PcapTopic"),
    ("AlertMapping", "PcapTopic"),
    ("WatchListMapping", "WatchListTopic"),
    ("ClientsMapping", "ClientsTopic"),
    ("DevicesMapping", "DevicesTopic"),
    ("SensorsMapping", "SensorsTopic"),
];

/// A stack with the parameters, resources and outputs of template.yaml that the commands know. Its functions do nothing.
fn template() -> Value {
    let parameter = |default: &str| json!({"Type": "String", "Default": default});
    let reference = |name: &str| json!({"Ref": name});
    let function = |environment: Value| {
        json!({"Type": "AWS::Lambda::Function", "Properties": {
            "Runtime": "python3.13", "Handler": "index.handler", "Role": "arn:aws:iam::000000000000:role/nobody",
            "Code": {"ZipFile": "def handler(event, context): pass"}, "Environment": {"Variables": environment}}})
    };
    let mut template = json!({
        "Parameters": {
            "TelegramToken": {"Type": "String", "NoEcho": true},
            "TelegramApiUrl": parameter(""),
            "Webhook": parameter(WEBHOOK),
            SECRETS: parameter(&"0".repeat(64)),
            "KafkaProvider": parameter("confluent"),
            "BootstrapServers": {"Type": "CommaDelimitedList", "Default": ""},
            "MskClusterArn": parameter(""),
            "MskScramSecretArn": parameter(""),
            "PcapTopic": parameter("pcap"),
            "WatchListTopic": parameter("ssid_alert_list"),
            "ClientsTopic": parameter("unifi.ace.user"),
            "DevicesTopic": parameter("unifi.ace.device"),
            "SensorsTopic": parameter("sensors"),
            "AggregateBlue": parameter("1"),
            "AggregateGreen": parameter(""),
            "MaxLagRecords": parameter("100"),
            "AlarmEmail": parameter(""),
        },
        "Resources": {
            "StateTable": {"Type": "AWS::DynamoDB::Table", "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "DeletionProtectionEnabled": true,
                "AttributeDefinitions": [
                    {"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": true},
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true}}},
            "TelegramSecret": {"Type": "AWS::SecretsManager::Secret",
                "Properties": {"SecretString": reference("TelegramToken")}},
            "KafkaSecret": {"Type": "AWS::SecretsManager::Secret",
                "Properties": {"SecretString": json!({"username": WATCHER, "password": PASSWORD}).to_string()}},
            "AggregateBlueFunction": function(json!({"BLUE": reference("AggregateBlue"), "GREEN": reference("AggregateGreen")})),
            "MaterializeFunction": function(json!({})),
            "AlertFunction": function(json!({})),
            "BotFunction": function(json!({"WEBHOOK_SECRET_SHA256": reference(SECRETS)})),
            "AlarmTopic": {"Type": "AWS::SNS::Topic"},
            "BotErrorsAlarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": {
                "AlarmDescription": "Function bot fails again and again.", "Namespace": "AWS/Lambda", "MetricName": "Errors",
                "Statistic": "Sum", "Period": 300, "EvaluationPeriods": 3, "Threshold": 0,
                "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching"}},
        },
        "Outputs": {
            "TableName": {"Value": reference("StateTable")},
            "WebhookUrl": {"Value": reference("Webhook")},
            "TelegramSecretArn": {"Value": reference("TelegramSecret")},
            "AggregateGroup": {"Value": {"Fn::Sub": "${StateTable}-aggregate"}},
            "AlarmTopicArn": {"Value": reference("AlarmTopic")},
        },
    });
    for (mapping, topic) in MAPPINGS {
        let function = match mapping {
            "AggregateBlueMapping" => "AggregateBlueFunction",
            "AlertMapping" => "AlertFunction",
            _ => "MaterializeFunction",
        };
        template["Resources"][mapping] = json!({"Type": "AWS::Lambda::EventSourceMapping", "Properties": {
            "FunctionName": reference(function), "Topics": [reference(topic)], "StartingPosition": "TRIM_HORIZON",
            "SelfManagedEventSource": {"Endpoints": {"KafkaBootstrapServers": ["127.0.0.1:1"]}},
            "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": reference("KafkaSecret")}]}});
    }
    template
}

/// A stack and the Telegram that its bot is at.
struct Stage {
    aws: Aws,
    telegram: Telegram,
}

impl Stage {
    /// `None` where there can be no ministack.
    fn set(more: &[(&str, &str)]) -> Option<Self> {
        let telegram = Telegram::start();
        telegram.add_chat(OWNER, Kind::Private);
        let url = telegram.url();
        let parameters = [&[("TelegramToken", TOKEN), ("TelegramApiUrl", url.as_str())], more].concat();
        let aws = Aws::with_stack(STACK, &template(), &parameters)?;
        telegram.reach_aws_at(aws.config().endpoint_url().unwrap());
        Some(Self { aws, telegram })
    }

    fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.aws.program("probegram").args(arguments).args(["--stack", STACK]))
    }

    /// The exit code of a command, and what it says.
    fn operate(&self, arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } =
            self.aws.program("probegram").args(arguments).args(["--stack", STACK]).output().unwrap();
        let said = [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        for secret in [&[TOKEN.to_owned(), PASSWORD.to_owned()], self.tokens().as_slice()].concat() {
            assert!(!said.contains(&secret), "a secret is said: {said}");
        }
        (status.code().unwrap(), said)
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let (code, said) = self.operate(arguments);
        assert_eq!(code, 0, "{said}");
        said
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let (code, said) = self.operate(arguments);
        assert_eq!(code, 1, "{said}");
        said
    }

    /// The secret tokens that Telegram was told and has taken, in order.
    fn tokens(&self) -> Vec<String> {
        let calls = self.telegram.calls().into_iter();
        calls
            .filter(|call| call.method == "setWebhook" && matches!(call.outcome, Outcome::Done(_)))
            .map(|call| call.params["secret_token"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The hashes by which the stack knows secret tokens.
    fn known(&self) -> Vec<String> {
        self.aws.parameters()[SECRETS].split(',').map(str::to_owned).collect()
    }

    fn table(&self) -> Table {
        Table::connect(self.aws.config(), self.aws.output("TableName"))
    }

    fn let_owner_in(&self) {
        let table = self.table();
        self.aws.wait_for(chats::allow(&table, OWNER, Role::Owner, None, runtime::clock::now_ms())).unwrap();
    }
}

fn sha256(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_webhook_is_set_from_nothing_and_set_again_once_there_is_an_owner() {
    let Some(stage) = Stage::set(&[]) else { return };
    let said = stage.succeeds(&["webhook", "set"]);
    let [token] = &stage.tokens()[..] else { panic!("{said}") };
    assert!(token.len() >= 43, "{said}");
    assert_eq!(stage.known(), [sha256(token)]);
    assert_eq!(stage.aws.updates(), 1, "there was no token before: one update is enough");
    assert!(said.contains(&format!("✅ Telegram posts updates to {WEBHOOK}.")), "{said}");
    let code = said.split_once("https://t.me/probegram_bot?start=").unwrap().1;
    let code = code.lines().next().unwrap();
    let table = stage.table();
    let redeemed = state::codes::redeem(&table, code, OWNER, runtime::clock::now_ms());
    assert_eq!(stage.aws.wait_for(redeemed).unwrap(), Some(Role::Owner), "by the code that is printed");
    let calls = stage.telegram.calls();
    let set = calls.iter().find(|call| call.method == "setWebhook").unwrap();
    assert_eq!(set.params["allowed_updates"], json!(["message", "callback_query", "my_chat_member"]));
    assert!(set.params["max_connections"].as_i64().unwrap() < 10, "less than the function runs at a time");
    assert!(!stage.telegram.commands(&json!({"type": "default"})).is_empty());

    stage.let_owner_in();
    let said = stage.succeeds(&["webhook", "set"]);
    assert!(!said.contains("t.me"), "there is an owner: {said}");
    let of_owner = stage.telegram.commands(&json!({"type": "chat", "chat_id": OWNER}));
    assert!(of_owner.iter().any(|(name, _)| name == "invite"), "{of_owner:?}");
}

#[test]
fn while_a_token_changes_the_one_before_is_let_in_until_telegram_has_the_new_one() {
    let Some(stage) = Stage::set(&[]) else { return };
    stage.succeeds(&["webhook", "set"]);
    let before = stage.known();
    let gate = Gate::closed();
    stage.telegram.fail_next("setWebhook", Fault::Held(gate.clone()));
    let mut set = stage.start(&["webhook", "set"]);
    until(PATIENCE, "the call", || (gate.arrived() == 1).then_some(()));
    // Telegram says the old token still, and may say the new one from now on
    let meanwhile = stage.known();
    assert_eq!((meanwhile.len(), &meanwhile[1]), (2, &before[0]));
    gate.open();
    assert!(set.wait(PATIENCE).success(), "{}{}", set.stdout(), set.stderr());
    let token = stage.tokens().pop().unwrap();
    assert_eq!(meanwhile[0], sha256(&token), "the new one was let in before Telegram was told of it");
    assert_eq!(stage.known(), [sha256(&token)], "and the old one is not any more");
    assert_eq!(stage.aws.updates(), 3);
}

#[test]
fn a_change_of_the_token_that_was_interrupted_lets_updates_in_and_is_mended_by_another() {
    let Some(stage) = Stage::set(&[]) else { return };
    stage.let_owner_in();
    stage.succeeds(&["webhook", "set"]);
    let first = stage.tokens().pop().unwrap();
    // before Telegram was told
    let gate = Gate::closed();
    stage.telegram.fail_next("setWebhook", Fault::Held(gate.clone()));
    let mut set = stage.start(&["webhook", "set"]);
    until(PATIENCE, "the call", || (gate.arrived() == 1).then_some(()));
    set.signal(Signal::SIGINT);
    set.wait(PATIENCE);
    assert!(stage.known().contains(&sha256(&first)), "what Telegram says is let in");
    let said = stage.succeeds(&["webhook", "check"]);
    assert!(said.contains("a change of them was interrupted"), "{said}");

    // the answer is lost: nobody knows which of two Telegram says
    stage.telegram.fail_next("setWebhook", Fault::AnswerLost);
    let (code, said) = stage.operate(&["webhook", "set"]);
    assert!(code == 2 && said.contains("type `probegram webhook set --stack home` again"), "{said}");
    let second = stage.tokens().pop().unwrap();
    assert!(stage.known().contains(&sha256(&second)), "what Telegram says is let in");

    stage.succeeds(&["webhook", "set"]);
    let third = stage.tokens().pop().unwrap();
    assert!(third != second && stage.known() == [sha256(&third)]);
}

#[test]
fn check_explains_what_telegram_complains_of_and_delete_frees_the_bot() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bot = runtime.block_on(MockServer::start());
    let answers = |status| {
        let answer = Mock::given(any()).respond_with(ResponseTemplate::new(status));
        runtime.block_on(async {
            bot.reset().await;
            answer.mount(&bot).await;
        });
    };
    let url = format!("{}/telegram", bot.uri());
    let Some(stage) = Stage::set(&[("Webhook", &url)]) else { return };
    stage.let_owner_in();
    let said = stage.fails(&["webhook", "check"]);
    assert!(
        said.contains("No webhook is set") && said.contains("→ probegram webhook set --stack home"),
        "{said}"
    );
    assert!(said.contains("The stack knows no secret token"), "{said}");

    stage.succeeds(&["webhook", "set"]);
    for (status, remedy) in [
        (401, "→ probegram webhook set --stack home   (the secret token that Telegram says"),
        (500, "→ aws logs tail /aws/lambda/BotFunction --since 1h --region eu-west-2"),
    ] {
        answers(status);
        let before = stage.telegram.deliveries().len();
        stage.telegram.somebody_says(OWNER, "hello");
        until(PATIENCE, "a refusal", || {
            let deliveries = stage.telegram.deliveries();
            deliveries.get(before..)?.iter().find(|delivery| delivery.status == Some(status)).map(drop)
        });
        let said = stage.fails(&["webhook", "check"]);
        assert!(said.contains(&format!("Wrong response from the webhook: {status}")), "{said}");
        assert!(said.contains(remedy) && said.contains(" UTC ("), "{said}");
    }
    answers(200);
    until(PATIENCE, "that all is taken", || stage.telegram.pending().is_empty().then_some(()));

    stage.telegram.fail_next("deleteWebhook", Fault::TooManyRequests(1));
    let (code, said) = stage.operate(&["webhook", "delete"]);
    assert!(code == 2 && !said.is_empty(), "{said}");
    let said = stage.succeeds(&["webhook", "delete"]);
    assert!(said.contains("What waits stays") && said.contains("probegram local"), "{said}");
    stage.telegram.somebody_says(OWNER, "anybody there?");
    assert_eq!(stage.telegram.pending().len(), 1);
    let said = stage.fails(&["webhook", "check"]);
    assert!(said.contains("No webhook is set: Telegram posts updates nowhere. 1 update waits."), "{said}");
    stage.succeeds(&["webhook", "delete", "--drop-pending"]);
    assert!(stage.telegram.pending().is_empty());
}

#[test]
fn the_doctor_says_of_each_part_that_it_is_well_or_what_is_wrong() {
    let Some(stage) = Stage::set(&[]) else { return };
    let aws = &stage.aws;
    let (table, name) = (stage.table(), aws.output("TableName"));
    let (dynamodb, cloudwatch, functions, secrets) = (
        aws_sdk_dynamodb::Client::new(aws.config()),
        aws_sdk_cloudwatch::Client::new(aws.config()),
        aws_sdk_lambda::Client::new(aws.config()),
        aws_sdk_secretsmanager::Client::new(aws.config()),
    );
    let expire = |enabled| {
        let expiry =
            TimeToLiveSpecification::builder().attribute_name("expires").enabled(enabled).build().unwrap();
        let request = dynamodb.update_time_to_live().table_name(&name).time_to_live_specification(expiry);
        aws.wait_for(request.send()).unwrap();
    };
    let recover = |enabled| {
        let recovery = PointInTimeRecoverySpecification::builder()
            .point_in_time_recovery_enabled(enabled)
            .build()
            .unwrap();
        let request = dynamodb.update_continuous_backups().table_name(&name);
        aws.wait_for(request.point_in_time_recovery_specification(recovery).send()).unwrap();
    };
    let protect = |enabled| {
        let request = dynamodb.update_table().table_name(&name).deletion_protection_enabled(enabled);
        aws.wait_for(request.send()).unwrap();
    };
    let alarm = |state| {
        let request = cloudwatch.set_alarm_state().alarm_name(aws.resource("BotErrorsAlarm"));
        aws.wait_for(request.state_value(state).state_reason("as the test wants it").send()).unwrap();
    };
    let lag = |records, minutes_ago: i64| {
        let function = Dimension::builder().name("FunctionName").value(aws.resource("AlertFunction")).build();
        let at = DateTime::from_secs(runtime::clock::now_ms() / 1000 - 60 * minutes_ago);
        let datum = MetricDatum::builder().metric_name("OffsetLag").dimensions(function).value(records);
        let request = cloudwatch.put_metric_data().namespace("AWS/Lambda");
        aws.wait_for(request.metric_data(datum.timestamp(at).build()).send()).unwrap();
    };
    let enable = |mapping: &str, enabled| {
        let request = functions.update_event_source_mapping().uuid(aws.resource(mapping)).enabled(enabled);
        aws.wait_for(request.send()).unwrap();
    };
    let keep = |secret: &str, value: &str| {
        let request = secrets.put_secret_value().secret_id(aws.resource(secret)).secret_string(value);
        aws.wait_for(request.send()).unwrap();
    };
    let look = |looked_ms| {
        let remembered = aws.wait_for(state::watchdog::all(&table)).unwrap().pop();
        let mut way = remembered.unwrap_or_else(|| Remembered::nothing(Subject::Way));
        way.memory.looked_ms = looked_ms;
        assert!(aws.wait_for(way.write(&table)).unwrap());
    };

    // nothing was done after `sam deploy`
    let said = stage.fails(&["doctor"]);
    for line in [
        "✅ Stack home is deployed (CREATE_COMPLETE).",
        "❌ No webhook is set: Telegram posts updates nowhere.",
        "❌ The stack knows no secret token: it lets nobody in.",
        "❌ The watchdog has not looked yet",
        "❌ Nobody owns the bot",
        "   Nothing was counted yet (generation 1): sensors write to topic pcap.",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }

    stage.let_owner_in();
    stage.succeeds(&["webhook", "set"]);
    expire(true);
    recover(true);
    alarm(StateValue::Ok);
    lag(7.0, 10);
    look(runtime::clock::now_ms());
    let said = stage.succeeds(&["doctor"]);
    for line in [
        "✅ Stack home is deployed (UPDATE_COMPLETE).",
        "✅ The bot's token is that of @probegram_bot.",
        &format!("✅ Telegram posts updates to {WEBHOOK}."),
        "✅ The secret of Kafka has a user name and a password.",
        "✅ AggregateBlueMapping reads ",
        "✅ SensorsMapping reads ",
        "✅ alert is 7 records behind its topic.",
        "   CloudWatch does not know how far materialize is behind",
        &format!("✅ Table {name} is active."),
        "✅ It is protected from being deleted.",
        "✅ What has expired is removed from it.",
        "✅ It can be restored",
        "✅ The schedule has the watchdog look every minute.",
        "✅ The bot has an owner.",
        "✅ No alarm is raised (1 of 1 are OK).",
        "   Alarms are e-mailed to nobody",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains('❌'), "{said}");

    let wrong = |what: &str, mend: &str| {
        let said = stage.fails(&["doctor"]);
        assert!(said.contains(&format!("❌ {what}")) && said.contains(mend), "{what}: {said}");
        assert_eq!(said.matches('❌').count(), 1, "one thing is wrong: {said}");
    };
    expire(false);
    wrong(
        "What has expired is not removed",
        &format!("→ aws dynamodb update-time-to-live --table-name {name}"),
    );
    expire(true);
    recover(false);
    wrong("It cannot be restored", "→ aws dynamodb update-continuous-backups");
    recover(true);
    protect(false);
    wrong("It is not protected", "→ aws dynamodb update-table");
    protect(true);
    alarm(StateValue::Alarm);
    wrong("Function bot fails again and again. (", "as the test wants it");
    alarm(StateValue::InsufficientData);
    assert!(stage.succeeds(&["doctor"]).contains("has not seen enough"));
    alarm(StateValue::Ok);
    enable("ClientsMapping", false);
    let uuid = aws.resource("ClientsMapping");
    wrong("ClientsMapping does not read ", &format!("--uuid {uuid} --enabled"));
    enable("ClientsMapping", true);
    lag(101.0, 5);
    wrong("alert is 101 records behind its topic, more than the 100", "function's log");
    lag(0.0, 1);
    look(runtime::clock::now_ms() - 60 * 60 * 1000);
    wrong("The watchdog last looked at", "EveryMinute");
    look(runtime::clock::now_ms());
    keep("KafkaSecret", r#"{"user":"functions"}"#);
    wrong("The secret of Kafka cannot be used: the secret of Kafka is not {", "KafkaApiSecret");
    keep("KafkaSecret", &json!({"username": WATCHER, "password": PASSWORD}).to_string());
    keep("TelegramSecret", "110201543:another");
    wrong("Telegram does not take the bot's token", "@BotFather");
    keep("TelegramSecret", " ");
    wrong("The bot's token cannot be read: the secret at", "with TelegramToken again");
    keep("TelegramSecret", TOKEN);
    aws.wait_for(chats::disallow(&table, OWNER)).unwrap();
    wrong("Nobody owns the bot", "→ probegram owner-code --stack home");
    stage.let_owner_in();
    let said = stage.succeeds(&["doctor"]);
    assert!(!said.contains('❌'), "{said}");
    aws.wait_for(functions.delete_event_source_mapping().uuid(&uuid).send()).unwrap();
    wrong("ClientsMapping is not there", "→ deploy stack home again");
}

#[test]
fn topics_of_a_stack_are_looked_at_by_its_names_and_with_its_login() {
    let Some(kafka) = SecuredKafka::start() else { return };
    let servers = kafka.address(Listener::SaslTls);
    let Some(stage) = Stage::set(&[("BootstrapServers", &servers), ("SensorsTopic", "health")]) else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // the broker's certificate is of nobody known
    let trust = file("trust", &format!("ssl.ca.location={}\n", kafka.certificate("ca.pem").display()));
    kafka.kafka().create_topic("pcap", 4);
    let said = stage.fails(&["topics", "--kafka-config", &trust]);
    assert!(said.contains("topic pcap\n  right    partitions: 4"), "{said}");
    assert!(
        said.contains("topic health: missing; `probegram topics --stack home --create` makes it"),
        "{said}"
    );
    assert!(!said.contains("topic sensors"), "{said}");

    let aws = &stage.aws;
    let secrets = aws_sdk_secretsmanager::Client::new(aws.config());
    let wrong = json!({"username": WATCHER, "password": "hunter2-battery"}).to_string();
    let put = secrets.put_secret_value().secret_id(aws.resource("KafkaSecret")).secret_string(wrong);
    aws.wait_for(put.send()).unwrap();
    let (code, said) = stage.operate(&["topics", "--kafka-config", &trust]);
    assert!(code == 2 && said.contains("refuses the login") && !said.contains("hunter2"), "{said}");
    // another login in its place
    let login = file("login", &kafka.login("PLAIN", WATCHER, PASSWORD));
    let said = stage.fails(&["topics", "--kafka-config", &login]);
    assert!(said.contains("topic pcap\n"), "{said}");
}

#[test]
fn a_stack_on_msk_says_how_its_brokers_are_found() {
    let arn = "arn:aws:kafka:eu-west-2:000000000000:cluster/home/0123abcd-1";
    let Some(stage) = Stage::set(&[("KafkaProvider", "msk"), ("MskClusterArn", arn)]) else { return };
    let (code, said) = stage.operate(&["topics"]);
    assert_eq!(code, 2);
    assert!(said.contains(&format!("aws kafka get-bootstrap-brokers --cluster-arn {arn}")), "{said}");
    assert!(said.contains("BootstrapBrokerStringSaslIam"), "{said}");
}

#[test]
fn commands_find_the_table_of_a_stack_and_say_when_there_is_none() {
    let Some(stage) = Stage::set(&[]) else { return };
    let said = stage.succeeds(&["owner-code"]);
    let code = said.split_once("/start ").unwrap().1.split_whitespace().next().unwrap();
    let table = stage.table();
    let redeemed = state::codes::redeem(&table, code, OWNER, runtime::clock::now_ms());
    assert_eq!(stage.aws.wait_for(redeemed).unwrap(), Some(Role::Owner), "{said}");
    let said = stage.succeeds(&["quarantine"]);
    assert!(said.contains("Nothing of topic pcap was quarantined"), "{said}");

    let operate = |arguments: &[&str], region: Option<&str>| {
        let mut program = stage.aws.program("probegram");
        program.args(arguments).env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION");
        program.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_EC2_METADATA_DISABLED", "true");
        let Output { status, stderr, .. } =
            program.envs(region.map(|it| ("AWS_REGION", it))).output().unwrap();
        (status.code().unwrap(), String::from_utf8(stderr).unwrap())
    };
    let (code, said) = operate(&["doctor", "--stack", "hoem"], Some("eu-west-2"));
    assert!(code == 2 && said.contains("there is no stack hoem in eu-west-2"), "{said}");
    let (code, said) = operate(&["quarantine", "--stack", STACK], None);
    assert!(code == 2 && said.contains("set AWS_REGION"), "{said}");
    let (code, said) = operate(&["quarantine", "--stack", STACK, "--data", "/tmp"], None);
    assert!(code == 2 && said.contains("cannot be used with"), "{said}");
}

#[test]
fn a_rebuild_that_was_interrupted_is_ended_by_the_same_command_or_stopped() {
    let Some(stage) = Stage::set(&[("AggregateGreen", "2")]) else { return };
    let consumers = || {
        let parameters = stage.aws.parameters();
        ["AggregateBlue", "AggregateGreen"].map(|consumer| parameters[consumer].clone())
    };
    let flip = |from, to| assert!(stage.aws.wait_for(generation::flip(&stage.table(), from, to)).unwrap());

    // generation 2 serves, and the consumer of generation 1 was not removed any more
    flip(1, 2);
    let said = stage.succeeds(&["rebuild"]);
    assert!(
        said.contains("Generation 2 serves already")
            && said.contains("one consumer, which writes generation 2"),
        "{said}"
    );
    assert_eq!(consumers(), ["", "2"], "{said}");

    // the way back, interrupted at the same place
    stage.aws.set(&[("AggregateBlue", "1"), ("AggregateGreen", "2")]);
    flip(2, 1);
    let said = stage.succeeds(&["rebuild", "--back"]);
    assert!(said.contains("Generation 1 serves already"), "{said}");
    assert_eq!(consumers(), ["1", ""], "{said}");

    // one that is given up before it has come to its end
    stage.aws.set(&[("AggregateBlue", "1"), ("AggregateGreen", "3")]);
    let said = stage.succeeds(&["rebuild", "--stop"]);
    assert_eq!(consumers(), ["1", ""], "{said}");

    // what serves is never left without its consumer
    stage.aws.set(&[("AggregateBlue", "3")]);
    let (code, said) = stage.operate(&["rebuild", "--stop"]);
    assert!(code != 0 && said.contains("no consumer of stack home writes generation 1"), "{said}");
    let (code, said) = stage.operate(&["rebuild"]);
    assert!(code != 0 && said.contains("Deploy it with AggregateBlue and AggregateGreen empty"), "{said}");
    assert_eq!(consumers(), ["3", ""]);
}
