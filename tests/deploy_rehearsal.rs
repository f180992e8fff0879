//! The deployment as a person does it, without an AWS account: the SAM command line, the real programs, and ministack in the place of AWS.
//!
//! `cargo test --workspace --test deploy_rehearsal` is the short form, with the programs of the dev build and one provider;
//! `make deploy-rehearsal` types the commands of the README word for word, with the endpoint of ministack in the environment, for both.
//!
//! ministack makes everything in the template and runs the functions behind its HTTP API and its schedule. Its event source mappings for Kafka
//! are a false green: they are there and feed nothing. So `probegram event-sources` stands in for them, which reads them from the deployed
//! template, and what AWS would make of them stands in tests/template.rs. Kafka is Apache Kafka with TLS and logins, as the template says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail
#![allow(clippy::print_stdout)] // and to tell

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

use probegram::template::Template;
use probegram_tests::frames::{probe_request, radiotap, with_fcs, write_pcap_header, write_pcap_record};
use probegram_tests::lambda::{ENVIRONMENT, Lambda};
use probegram_tests::process::{self, Running};
use probegram_tests::recorded_calls;
use probegram_tests::secured_kafka::{FUNCTIONS, Listener, PASSWORD, SecuredKafka, WRITER};
use probegram_tests::telegram::{Kind, Telegram};
use probegram_tests::template_permissions::{self, grants};
use probegram_tests::until;
use serde_json::Value;
use tempfile::TempDir;

/// It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(300);
const STACK: &str = "probegram";
const OWNER: i64 = 4_242_424_242;
const RADIOTAP: u32 = 127;
const LAPTOP: [u8; 6] = [0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15];
const TOPICS: [&str; 5] = ["pcap", "ssid_alert_list", "unifi.ace.user", "unifi.ace.device", "sensors"];

/// Whose Kafka it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    /// SASL/PLAIN over TLS; the stack makes the secret.
    Confluent,
    /// SASL/SCRAM-SHA-512 over TLS, by a secret that is there.
    Msk,
}

fn main() -> ExitCode {
    let is_full = std::env::args().any(|argument| argument == "--full");
    let providers: &[Provider] =
        if is_full { &[Provider::Confluent, Provider::Msk] } else { &[Provider::Confluent] };
    for provider in providers {
        let began = Instant::now();
        let Some(rehearsal) = Rehearsal::begin(*provider, is_full) else {
            return ExitCode::SUCCESS; // skipped, and said so
        };
        rehearsal.play();
        let took = began.elapsed().as_secs();
        println!(
            "deploy rehearsal, {provider:?}: deployed, chatted, alerted, renamed, rebuilt, updated, deleted in {took} s: ok"
        );
    }
    ExitCode::SUCCESS
}

/// Everything that a deployment meets.
struct Rehearsal {
    provider: Provider,
    is_full: bool,
    kafka: SecuredKafka,
    aws: Lambda,
    telegram: Telegram,
    folder: TempDir,
}

impl Drop for Rehearsal {
    /// The settings were the rehearsal's own: it has not begun where others were there.
    fn drop(&mut self) {
        let _absent: std::io::Result<()> = fs::remove_file(self.settings());
    }
}

impl Rehearsal {
    fn begin(provider: Provider, is_full: bool) -> Option<Self> {
        let theirs = root().join("parameters.yaml");
        assert!(
            !(is_full && theirs.exists()),
            "{} is there: move it away, the rehearsal writes its own",
            theirs.display()
        );
        let kafka = SecuredKafka::start()?;
        let aws = Lambda::start()?;
        said(&mut Command::new(root().join("infra/deploy-tools")));
        for topic in TOPICS {
            kafka.kafka().create_topic(topic, if topic == "pcap" { 4 } else { 1 });
        }
        let telegram = Telegram::start();
        telegram.add_chat(OWNER, Kind::Private);
        telegram.reach_aws_at(&aws.endpoint());
        let folder = TempDir::new().unwrap();
        Some(Self { provider, is_full, kafka, aws, telegram, folder })
    }

    fn play(&self) {
        let mut act = Act { began: Instant::now() };
        self.deploy();
        act.ends("sam deploy: the stack is there");

        let set = self.operate(&["webhook", "set", "--stack", STACK]);
        print!("{set}");
        let code = set.split_once("start=").map(|(_, code)| code.split_whitespace().next().unwrap());
        let code = code.unwrap_or_else(|| panic!("no link for the owner: {set}"));
        let greeting = self.ask(&format!("/start {code}"));
        act.ends(&format!("the owner is greeted through the webhook: {}", first_line(&greeting)));

        let mut feeds = Running::start(
            self.program("probegram")
                .args([
                    "event-sources",
                    "--stack",
                    STACK,
                    "--bootstrap-servers",
                    &self.brokers(),
                    "--kafka-config",
                ])
                .arg(self.login_of_functions()),
        );
        feeds.wait_for_line("ready ");
        self.hear(&[&b""[..], b"RNM0", b"FULLERS", b"RNM0"]);
        let answer = self.ask_until("a4:83:e7:4e:39:15", "Probe count    : 4");
        assert!(answer.contains("Unique SSIDs   : 2"), "{answer}");
        act.ends("a probe request goes through Kafka into an answer");

        let watching = self.ask("/watch RNM-GUEST guest network");
        assert!(watching.contains("Watching RNM-GUEST"), "{watching}");
        // by a pattern it is looked through what was heard of late
        let watching = self.ask("/watch NOWHERE-*");
        assert!(watching.contains("Watching NOWHERE-*"), "{watching}");
        self.hear(&[b"RNM-GUEST"]);
        let alert = until(PATIENCE, "an alert", || {
            let messages = self.telegram.messages(OWNER).into_iter();
            messages.map(|message| message.text).find(|text| text.contains("probed for SSID RNM-GUEST"))
        });
        act.ends(&format!("a watched network is told: {}", first_line(&alert)));

        self.rename("Robin's laptop");
        let _named = self.ask_until("robin", "Robin's laptop");
        self.rename("Robin's old laptop");
        let _counted = self.ask_until("robin's old", "Probe count    : 5");
        act.ends("a name, and another one, come from the UniFi topic");

        let rebuilt = self.operate(&[
            "rebuild",
            "--stack",
            STACK,
            "--bootstrap-servers",
            &self.brokers(),
            "--kafka-config",
            self.login_of_functions().to_str().unwrap(),
        ]);
        print!("{rebuilt}");
        assert!(rebuilt.contains("1 the same") && rebuilt.contains("Generation 2 serves"), "{rebuilt}");
        let parameters = self.parameters();
        let consumers = ["AggregateBlue", "AggregateGreen"].map(|name| parameters[name].clone());
        assert_eq!(consumers, ["", "2"], "the second consumer alone is left");
        self.hear(&[b"RNM0"]);
        let _counted = self.ask_until("a4:83:e7:4e:39:15", "Probe count    : 6");
        act.ends("a rebuild by the second consumer, which counts on");

        let same = self.deploy();
        assert!(same.contains("No changes to deploy") || same.contains("is up to date"), "{same}");
        act.ends("the same once more: no change");
        self.write_parameters(&[("TimeZone", "Asia/Tokyo")]);
        self.deploy();
        assert_eq!(self.parameters()["AggregateGreen"], "2", "an update leaves the rebuild's generation");
        let moved = self.ask_until("a4:83:e7:4e:39:15", " JST");
        assert!(moved.contains("Probe count    : 6"), "{moved}");
        act.ends("an update: another time zone, the same counts");

        let doctor = self.program("probegram").args(["doctor", "--stack", STACK]).output().unwrap();
        print!("{}", String::from_utf8_lossy(&doctor.stdout));
        act.ends("the doctor's look; what ministack has otherwise than AWS stands in it");

        self.compare_permissions();
        act.ends("each role allows what its function has asked of AWS, and nothing else");

        let table = self.output("TableName");
        drop(feeds);
        said(self.tool("sam").args(["delete", "--no-prompts", "--stack-name", STACK]));
        let items =
            self.aws_says(&format!("client('dynamodb').scan(TableName='{table}', Select='COUNT')['Count']"));
        let items = items.as_u64().unwrap();
        assert!(items > 0, "the table stays when the stack is deleted");
        act.ends(&format!("the stack is deleted, its table with {items} items is not"));
    }

    /// ministack refuses nothing, so what functions have asked is compared with what their roles allow. Every action that a role allows is
    /// asked here but one, and so another is too much.
    fn compare_permissions(&self) {
        let text = fs::read_to_string(root().join("template.yaml")).unwrap();
        let strings = |value: Value| -> BTreeMap<String, String> { serde_json::from_value(value).unwrap() };
        let physical = strings(self.aws_says(&format!(
            "{{r['LogicalResourceId']: r['PhysicalResourceId'] for r in client('cloudformation').describe_stack_resources(StackName='{STACK}')['StackResources']}}"
        )));
        let template = Template::of_stack(&text, &strings(self.parameters()), &physical).unwrap();
        let calls = self.aws.calls();
        assert_eq!(calls.get(recorded_calls::NOBODY), None, "it is not known which function has asked this");
        let mut differences = Vec::new();
        for role in ["AggregateRole", "MaterializeRole", "AlertRole", "BotRole"] {
            // by its name in the stack, so also of the consumer that the rebuild has removed
            let of_role = format!("{STACK}-{}", role.strip_suffix("Role").unwrap());
            let asked = calls.iter().filter(|(function, _)| function.starts_with(&of_role));
            let asked = asked.flat_map(|(_, calls)| calls.clone()).collect();
            let found = template_permissions::differences(&grants(&template, role, &physical), &asked);
            // by which a sensor is forgotten after 14 days, and a group that has become a supergroup moves: not seen here
            let unseen =
                format!("dynamodb:DeleteItem on {} is allowed and not needed", physical["StateTable"]);
            let found: Vec<String> =
                found.into_iter().filter(|line| role != "AlertRole" || *line != unseen).collect();
            differences.extend(found.into_iter().map(|line| format!("{role}: {line}")));
        }
        assert!(differences.is_empty(), "{}\nof {calls:#?}", differences.join("\n"));
    }

    /// `sam build` and `sam deploy`: by the README's commands, or with the programs of the dev build.
    fn deploy(&self) -> String {
        if !self.settings().exists() {
            self.write_parameters(&[]);
        }
        if self.is_full {
            let until_set = readme().into_iter().take_while(|command| !command.contains("webhook set"));
            return self.shell(&until_set.collect::<Vec<_>>());
        }
        let built = self.built();
        let settings = format!("file://{}", self.settings().display());
        let arguments = ["--resolve-s3", "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset"];
        let mut sam = self.tool("sam");
        sam.args(["deploy", "--stack-name", STACK, "--no-fail-on-empty-changeset", "--template-file"])
            .arg(built);
        said(sam.args(arguments).args(["--parameter-overrides", &settings]))
    }

    /// What `sam build` would leave, of the programs of the dev build.
    fn built(&self) -> PathBuf {
        let mut template = String::new();
        for line in fs::read_to_string(root().join("template.yaml")).unwrap().lines() {
            let line = match line.trim().strip_prefix("CodeUri: functions/") {
                Some(function) => {
                    let folder = self.folder.path().join("built").join(function);
                    fs::create_dir_all(&folder).unwrap();
                    fs::copy(process::binary(function), folder.join("bootstrap")).unwrap();
                    format!("      CodeUri: {}", folder.display())
                }
                None => line.to_owned(),
            };
            template += &line;
            template.push('\n');
        }
        let path = self.folder.path().join("template.yaml");
        fs::write(&path, template).unwrap();
        path
    }

    /// The file of settings that a person fills in.
    fn settings(&self) -> PathBuf {
        let folder = if self.is_full { root() } else { self.folder.path().to_owned() };
        folder.join("parameters.yaml")
    }

    fn write_parameters(&self, more: &[(&str, &str)]) {
        let brokers = self.brokers();
        let (api, token) = (self.telegram.url(), self.telegram.token().to_owned());
        let mut parameters =
            vec![("TelegramToken", token.as_str()), ("TelegramApiUrl", &api), ("Architecture", "x86_64")];
        let secret;
        match self.provider {
            Provider::Confluent => parameters.extend([
                ("KafkaProvider", "confluent"),
                ("BootstrapServers", brokers.as_str()),
                ("KafkaApiKey", FUNCTIONS),
                ("KafkaApiSecret", PASSWORD),
            ]),
            Provider::Msk => {
                let login = serde_json::json!({"username": FUNCTIONS, "password": PASSWORD}).to_string();
                let made = self.aws_says(&format!(
                    "[s['ARN'] for s in client('secretsmanager').list_secrets()['SecretList'] if s['Name'] == 'AmazonMSK_probegram'] or [client('secretsmanager').create_secret(Name='AmazonMSK_probegram', SecretString='{login}')['ARN']]"
                ));
                secret = made[0].as_str().unwrap().to_owned();
                parameters.extend([
                    ("KafkaProvider", "msk"),
                    ("MskClusterArn", "arn:aws:kafka:eu-west-2:000000000000:cluster/probegram/0123abcd-1"),
                    ("MskScramSecretArn", secret.as_str()),
                    (
                        "MskScramKeyArn",
                        "arn:aws:kms:eu-west-2:000000000000:key/0123abcd-0000-0000-0000-000000000000",
                    ),
                ]);
            }
        }
        parameters.extend(more);
        let lines = parameters.iter().map(|(name, value)| format!("{name}: '{value}'\n"));
        fs::write(self.settings(), lines.collect::<String>()).unwrap();
    }

    fn brokers(&self) -> String {
        self.kafka.address(Listener::SaslTls)
    }

    /// The login with which the event source mappings would come: that of the secret which they name.
    fn login_of_functions(&self) -> PathBuf {
        let (mechanism, secret) = match self.provider {
            Provider::Confluent => ("PLAIN", "KafkaSecret".to_owned()),
            Provider::Msk => {
                ("SCRAM-SHA-512", self.parameters()["MskScramSecretArn"].as_str().unwrap().to_owned())
            }
        };
        let secret: Value = serde_json::from_str(&self.secret(&secret)).unwrap();
        let of = |name: &str| secret[name].as_str().unwrap().to_owned();
        let path = self.folder.path().join("functions.properties");
        fs::write(&path, self.kafka.login(mechanism, &of("username"), &of("password"))).unwrap();
        path
    }

    /// A sensor hears a laptop look for these networks, just now.
    fn hear(&self, ssids: &[&[u8]]) {
        let mut capture = Vec::new();
        write_pcap_header(&mut capture, RADIOTAP).unwrap();
        let now_ms = u64::try_from(runtime::clock::now_ms()).unwrap();
        for (number, ssid) in (0..).zip(ssids) {
            let frame = radiotap(-60, &with_fcs(probe_request(LAPTOP, ssid, number)));
            write_pcap_record(&mut capture, (now_ms - 1000 + u64::from(number)) * 1000, &frame).unwrap();
        }
        let folder = TempDir::new_in(self.folder.path()).unwrap();
        let (file, login) = (folder.path().join("heard.pcap"), folder.path().join("sensor.properties"));
        fs::write(&file, capture).unwrap();
        fs::write(&login, self.kafka.login("SCRAM-SHA-512", WRITER, PASSWORD)).unwrap();
        let mut agent = self.program("capture-agent");
        agent
            .args(["--sensor", "hallway", "--read"])
            .arg(file)
            .arg("--spool")
            .arg(folder.path().join("spool"));
        agent.args(["--bootstrap-servers", &self.brokers(), "--kafka-config"]).arg(login);
        said(&mut agent);
    }

    /// The UniFi controller calls the laptop so.
    fn rename(&self, name: &str) {
        let folder = TempDir::new_in(self.folder.path()).unwrap();
        let (file, login) = (folder.path().join("user.json"), folder.path().join("unifi.properties"));
        let document = serde_json::json!({"_id": {"$oid": "596e27a4e4b0c5a6f8a1b2c3"}, "mac": "a4:83:e7:4e:39:15", "name": name});
        fs::write(&file, document.to_string()).unwrap();
        fs::write(&login, self.kafka.login("PLAIN", WRITER, PASSWORD)).unwrap();
        let mut import = self.program("probegram");
        import.arg("unifi-import").arg(file).args([
            "--collection",
            "user",
            "--bootstrap-servers",
            &self.brokers(),
        ]);
        said(import.arg("--kafka-config").arg(login));
    }

    /// What the bot answers next.
    fn ask(&self, text: &str) -> String {
        let before = self.telegram.messages(OWNER).len();
        self.telegram.somebody_says(OWNER, text);
        until(PATIENCE, &format!("an answer to {text}"), || {
            let messages = self.telegram.messages(OWNER);
            messages.get(before).map(|message| message.text.clone())
        })
    }

    /// Asks until the answer holds this: what a sensor has heard comes when its batch is full.
    fn ask_until(&self, text: &str, part: &str) -> String {
        until(PATIENCE, &format!("an answer with {part}"), || {
            Some(self.ask(text)).filter(|it| it.contains(part))
        })
    }

    fn program(&self, name: &str) -> Command {
        let program = if self.is_full { process::release_binary(name) } else { process::binary(name) };
        self.in_environment(Command::new(program))
    }

    fn tool(&self, name: &str) -> Command {
        self.in_environment(Command::new(root().join("target/deploy-tools/bin").join(name)))
    }

    fn in_environment(&self, mut command: Command) -> Command {
        command.current_dir(root()).env_remove("RUST_LOG").envs(ENVIRONMENT);
        command.envs([("AWS_DEFAULT_REGION", "eu-west-2"), ("SAM_CLI_TELEMETRY", "0")]);
        command.env("AWS_ENDPOINT_URL", self.aws.endpoint());
        command
    }

    /// `probegram`, by the README's command where that has it.
    fn operate(&self, arguments: &[&str]) -> String {
        let typed = format!("probegram {}", arguments.join(" "));
        if self.is_full
            && let Some(at) = readme().iter().position(|command| *command == typed)
        {
            let path =
                readme().into_iter().filter(|command| command.starts_with("export ")).collect::<Vec<_>>();
            return self.shell(&[path, vec![readme()[at].clone()]].concat());
        }
        said(self.program("probegram").args(arguments))
    }

    /// Types commands into a shell in the project's folder.
    fn shell(&self, commands: &[String]) -> String {
        for command in commands {
            println!("$ {command}");
        }
        said(self.in_environment(Command::new("bash")).arg("-ec").arg(commands.join("\n")))
    }

    fn parameters(&self) -> Value {
        self.aws_says(&format!(
            "{{p['ParameterKey']: p['ParameterValue'] for p in client('cloudformation').describe_stacks(StackName='{STACK}')['Stacks'][0]['Parameters']}}"
        ))
    }

    fn output(&self, name: &str) -> String {
        let outputs = self.aws_says(&format!(
            "{{o['OutputKey']: o['OutputValue'] for o in client('cloudformation').describe_stacks(StackName='{STACK}')['Stacks'][0]['Outputs']}}"
        ));
        outputs[name].as_str().unwrap().to_owned()
    }

    /// The string of a secret: of a resource of the stack, or by its ARN.
    fn secret(&self, name: &str) -> String {
        let id = if name.starts_with("arn:") {
            format!("'{name}'")
        } else {
            format!(
                "client('cloudformation').describe_stack_resource(StackName='{STACK}', LogicalResourceId='{name}')['StackResourceDetail']['PhysicalResourceId']"
            )
        };
        let string = self
            .aws_says(&format!("client('secretsmanager').get_secret_value(SecretId={id})['SecretString']"));
        string.as_str().unwrap().to_owned()
    }

    /// What an expression of AWS's own library for Python comes to.
    fn aws_says(&self, expression: &str) -> Value {
        let program = format!("import json; from boto3 import client; print(json.dumps({expression}))");
        let said = said(self.tool("python3").args(["-c", &program]));
        serde_json::from_str(&said).unwrap()
    }
}

/// What takes so long, a line each.
struct Act {
    began: Instant,
}

impl Act {
    fn ends(&mut self, what: &str) {
        let took = std::mem::replace(&mut self.began, Instant::now()).elapsed();
        println!("{:>6.1} s  {what}", took.as_secs_f32());
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The commands by which the README deploys: the first block after the heading.
fn readme() -> Vec<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, after) = text.split_once("## On AWS").expect("the README says how to deploy");
    let block = after.split("```").nth(1).expect("in a block of commands");
    let commands = block.lines().skip(1).map(|line| line.split(" # ").next().unwrap().trim().to_owned());
    let commands: Vec<String> = commands.filter(|command| !command.is_empty()).collect();
    assert!(commands.len() <= 5, "at most five commands: {commands:?}");
    commands
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// What a program says that succeeds.
fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?} ended with {status}\n{stdout}\n{stderr}");
    format!("{stdout}{stderr}")
}
