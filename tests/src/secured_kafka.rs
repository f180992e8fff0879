//! A real Kafka that lets in only whom it knows: TLS, SASL by all mechanisms that the agent speaks, certificates of clients, and rights.
//!
//! One broker with a listener for each kind of security. Keys and certificates are made by openssl when it starts, and the users stand here.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::fetched::fetched;
use crate::kafka::{Kafka, Port, Settings};

/// The password of every user.
pub const PASSWORD: &str = "correct-horse";
/// Any password but that.
pub const WRONG_PASSWORD: &str = "hunter2-battery";
/// May write to every topic.
pub const WRITER: &str = "writer";
/// May write to topic [`FREE_TOPIC`] alone, and see all.
pub const READER: &str = "reader";
/// May see all topics and write to none, so that not even a producer's id is given to it.
pub const WATCHER: &str = "watcher";
/// May read every topic, as a member of any group: the event source mappings of functions.
pub const FUNCTIONS: &str = "functions";
/// May nothing.
pub const STRANGER: &str = "stranger";
/// The topic that [`READER`] may write to.
pub const FREE_TOPIC: &str = "free";
/// The key id and the secret key that the listener for IAM knows.
pub const AWS_KEY: (&str, &str) = ("AKIDPROBEGRAM", "a-secret-key-of-nobody");
/// The region of the listener for IAM.
pub const AWS_REGION: &str = "eu-west-1";

/// A running broker. It is killed and its data is removed when this goes out of scope.
pub struct SecuredKafka {
    kafka: Kafka,
    certificates: TempDir,
    ports: Vec<(Listener, Port)>,
}

/// A port of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// SASL without TLS, SCRAM-SHA-512 alone.
    Sasl,
    /// TLS, then SASL by PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or an unsecured OAUTHBEARER token.
    SaslTls,
    /// TLS with a certificate of the client.
    MutualTls,
    /// TLS with a certificate of another host.
    OtherName,
    /// TLS, then OAUTHBEARER with a token as Amazon MSK takes it.
    MskIam,
}

const LISTENERS: [(Listener, &str, &str); 5] = [
    (Listener::Sasl, "SASL", "SASL_PLAINTEXT"),
    (Listener::SaslTls, "SASL_TLS", "SASL_SSL"),
    (Listener::MutualTls, "MUTUAL_TLS", "SSL"),
    (Listener::OtherName, "OTHER_NAME", "SASL_SSL"),
    (Listener::MskIam, "MSK_IAM", "SASL_SSL"),
];

impl SecuredKafka {
    /// Starts the broker and waits until it answers and knows who may what. `None` where something is missing that it needs.
    ///
    /// # Panics
    /// As [`Kafka::start`], and when openssl fails.
    #[must_use]
    pub fn start() -> Option<Self> {
        let certificates = certificates();
        let ports: Vec<(Listener, Port)> =
            LISTENERS.iter().map(|(listener, ..)| (*listener, Port::reserve())).collect();
        let kafka = Kafka::with_settings(1, |home| settings(home, certificates.path(), &ports))?;
        allow(&kafka.bootstrap_servers());
        Some(Self { kafka, certificates, ports })
    }

    /// The broker, by the listener without security, where everybody may everything.
    #[must_use]
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// The address of a listener.
    ///
    /// # Panics
    /// Never: each has one.
    #[must_use]
    pub fn address(&self, listener: Listener) -> String {
        let (_listener, port) = self.ports.iter().find(|(found, _)| *found == listener).expect("a listener");
        format!("127.0.0.1:{}", port.number())
    }

    /// A file of keys or certificates: `ca.pem`, `stranger-ca.pem`, `sensor.key` and `sensor.crt`, `expired.key` and `expired.crt`.
    #[must_use]
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.certificates.path().join(name)
    }

    /// librdkafka's settings for a login by TLS and SASL.
    #[must_use]
    pub fn login(&self, mechanism: &str, user: &str, password: &str) -> String {
        format!(
            "security.protocol=SASL_SSL\nssl.ca.location={}\nsasl.mechanism={mechanism}\nsasl.username={user}\nsasl.password={password}\n",
            self.certificate("ca.pem").display()
        )
    }
}

fn settings(home: &Path, certificates: &Path, ports: &[(Listener, Port)]) -> Settings {
    let file = |name: &str| certificates.join(name).display().to_string();
    let named = || LISTENERS.iter().zip(ports);
    let listeners =
        named().map(|((_, name, _), (_, port))| format!(",{name}://127.0.0.1:{}", port.number())).collect();
    let protocols: String =
        LISTENERS.iter().map(|(_, name, protocol)| format!(",{name}:{protocol}")).collect();
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";";
    let plain: String = [WRITER, READER, WATCHER, FUNCTIONS, STRANGER]
        .iter()
        .map(|user| format!(" user_{user}=\"{PASSWORD}\""))
        .collect();
    let mut properties = format!(
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
         listener.name.sasl.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         listener.name.sasl.scram-sha-512.sasl.jaas.config={scram}\n\
         listener.name.sasl_tls.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required{plain};\n\
         listener.name.sasl_tls.scram-sha-256.sasl.jaas.config={scram}\n\
         listener.name.sasl_tls.scram-sha-512.sasl.jaas.config={scram}\n\
         listener.name.sasl_tls.oauthbearer.sasl.jaas.config={bearer}\n\
         listener.name.other_name.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         listener.name.other_name.scram-sha-512.sasl.jaas.config={scram}\n\
         listener.name.mutual_tls.ssl.client.auth=required\n\
         listener.name.mutual_tls.ssl.truststore.type=PEM\n\
         listener.name.mutual_tls.ssl.truststore.location={}\n\
         listener.name.msk_iam.sasl.enabled.mechanisms=OAUTHBEARER\n\
         listener.name.msk_iam.oauthbearer.sasl.jaas.config={bearer}\n\
         listener.name.msk_iam.oauthbearer.sasl.server.callback.handler.class=PresignedUrlValidator\n",
        file("ca.pem")
    );
    for (listener, name, protocol) in LISTENERS {
        if protocol.ends_with("SSL") {
            let keys = if listener == Listener::OtherName { "other" } else { "broker" };
            let name = name.to_lowercase();
            properties += &format!(
                "listener.name.{name}.ssl.keystore.type=PEM\nlistener.name.{name}.ssl.keystore.location={}\n",
                file(&format!("{keys}.pem"))
            );
        }
    }
    let mut format = Vec::new();
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for user in [WRITER, READER, WATCHER, FUNCTIONS, STRANGER] {
            format.push("--add-scram".to_owned());
            format.push(format!("{mechanism}=[name={user},password={PASSWORD}]"));
        }
    }
    Settings {
        listeners,
        properties,
        format,
        classes: Some(validator(home, certificates)),
        ..Settings::default()
    }
}

/// Compiles the listener's check of tokens as Amazon MSK takes them. By the compiler of Eclipse: a machine that runs Kafka need not have one.
fn validator(home: &Path, folder: &Path) -> PathBuf {
    let compiler = fetched("ecj", "lib", "pom.xml", |lib, pom| {
        let mut maven = Command::new("mvn");
        maven
            .args(["-q", "-B", "dependency:copy-dependencies"])
            .arg(format!("-DoutputDirectory={}", lib.display()))
            .arg("-f")
            .arg(pom);
        vec![maven]
    });
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ecj/PresignedUrlValidator.java");
    let classes = folder.join("classes");
    let clients = fs::read_dir(home.join("lib")).expect("Kafka's jars").flatten().map(|entry| entry.path());
    let clients = clients
        .into_iter()
        .find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kafka-clients-"))
        })
        .expect("the jar of Kafka's clients");
    run(Command::new("java")
        .arg("-cp")
        .arg(compiler.join("lib/*"))
        .args(["org.eclipse.jdt.internal.compiler.batch.Main", "-17", "-nowarn", "-proc:none", "-cp"])
        .arg(clients)
        .arg("-d")
        .arg(&classes)
        .arg(source));
    let (id, secret) = AWS_KEY;
    fs::write(classes.join("known.properties"), format!("id={id}\nsecret={secret}\nregion={AWS_REGION}\n"))
        .expect("a temporary file");
    classes
}

/// Two authorities, and what they certify: the broker, a broker of another name, a sensor, and a sensor whose time is over.
fn certificates() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let openssl = |arguments: &str| {
        run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder.path()));
    };
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for authority in ["ca", "stranger-ca"] {
        openssl(&format!(
            "req -x509 {KEY} -keyout {authority}.key -out {authority}.pem -subj /CN={authority} -days 30"
        ));
    }
    for (name, subject, alternative, days) in [
        ("broker", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1", 30),
        ("other", "kafka.example", "subjectAltName=DNS:kafka.example", 30),
        ("sensor", "sensor", "", 30),
        ("expired", "sensor", "", -1),
    ] {
        fs::write(folder.path().join("extensions"), alternative).expect("a temporary file");
        openssl(&format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={subject}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile extensions -out {name}.crt"
        ));
        let of_kafka: Vec<u8> = [format!("{name}.key"), format!("{name}.crt"), "ca.pem".to_owned()]
            .iter()
            .flat_map(|part| fs::read(folder.path().join(part)).expect("what openssl has written"))
            .collect();
        fs::write(folder.path().join(format!("{name}.pem")), of_kafka).expect("a temporary file");
    }
    folder
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Tells the broker who may what, by a request `CreateAcls` of version 1 (kafka.apache.org/protocol#The_Messages_CreateAcls): librdkafka's
/// binding cannot, and a JVM for it would take a second and a half.
fn allow(bootstrap_servers: &str) {
    const TOPIC: i8 = 2;
    const GROUP: i8 = 3;
    const LITERAL: i8 = 3;
    const ALLOW: i8 = 3;
    const READ: i8 = 3;
    const WRITE: i8 = 4;
    const DESCRIBE: i8 = 8;
    let iam = format!("iam-{}", AWS_KEY.0);
    let rights = [
        (WRITER, TOPIC, "*", WRITE),
        ("CN=sensor", TOPIC, "*", WRITE),
        ("token-bearer", TOPIC, "*", WRITE),
        (&iam, TOPIC, "*", WRITE),
        (&iam, TOPIC, "*", READ),
        (READER, TOPIC, FREE_TOPIC, WRITE),
        (READER, TOPIC, "*", DESCRIBE),
        (WATCHER, TOPIC, "*", DESCRIBE),
        (FUNCTIONS, TOPIC, "*", READ),
        (FUNCTIONS, GROUP, "*", READ),
    ];
    let text = |into: &mut Vec<u8>, text: &str| {
        into.extend(i16::try_from(text.len()).expect("a short text").to_be_bytes());
        into.extend(text.as_bytes());
    };
    let mut request = Vec::new();
    request.extend(30_i16.to_be_bytes()); // CreateAcls
    request.extend(1_i16.to_be_bytes());
    request.extend(7_i32.to_be_bytes()); // which answer is whose
    text(&mut request, "probegram-tests");
    request.extend(i32::try_from(rights.len()).expect("a few").to_be_bytes());
    for (user, kind, name, operation) in rights {
        request.extend(kind.to_be_bytes());
        text(&mut request, name);
        request.extend(LITERAL.to_be_bytes());
        text(&mut request, &format!("User:{user}"));
        text(&mut request, "*"); // from any host
        request.extend(operation.to_be_bytes());
        request.extend(ALLOW.to_be_bytes());
    }
    let mut broker = TcpStream::connect(bootstrap_servers).expect("the broker");
    broker
        .write_all(&i32::try_from(request.len()).expect("a short request").to_be_bytes())
        .expect("the broker");
    broker.write_all(&request).expect("the broker");
    let mut length = [0; 4];
    broker.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
    broker.read_exact(&mut answer).expect("an answer");
    // correlation id, throttle time, how many; each an error code and a text, which without an error is null
    let errors: Vec<i16> =
        answer[12..].chunks(4).map(|result| i16::from_be_bytes([result[0], result[1]])).collect();
    assert_eq!(errors, vec![0; rights.len()], "the broker does not note who may what");
}
