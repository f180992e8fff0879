//! How the functions of a stack log in to Kafka, for commands that ask the same cluster.

use std::path::Path;

use anyhow::{Context as _, bail};
use capture_agent::producer::BY_MSK_IAM;
use rdkafka::config::ClientConfig;
use runtime::secret::{Place, Secret};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::host::kafka_config;
use crate::stack::Stack;

/// Settings that are a login: who gives one of them has another than the stack's.
const LOGIN: [&str; 4] = ["security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username"];

/// A secret as Lambda wants it for a login by password, and as Amazon MSK keeps it.
/// <https://docs.aws.amazon.com/lambda/latest/dg/kafka-cluster-auth.html>
#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

/// librdkafka's settings for the cluster that feeds the stack. `servers` stand for the stack's own; what stands in `file` counts instead of
/// what the stack says, so a file with a login has the secret of the functions stay unread.
///
/// # Errors
/// When the stack does not say where the brokers are, as with Amazon MSK; when the file or the secret cannot be read.
pub async fn kafka_of(
    stack: &Stack,
    servers: Option<&str>,
    file: Option<&Path>,
) -> anyhow::Result<ClientConfig> {
    let servers = match (servers, stack.parameter("BootstrapServers")) {
        (Some(servers), _) => servers,
        (None, Some(servers)) if !servers.is_empty() => servers,
        (None, _) => bail!(
            "the stack {} does not say where its brokers are: give --bootstrap-servers, on a machine in the cluster's network. \
             `aws kafka get-bootstrap-brokers --cluster-arn {}` tells them: of {}",
            stack.name(),
            stack.parameter("MskClusterArn").unwrap_or("ARN"),
            if scram_secret(stack).is_some() {
                "BootstrapBrokerStringSaslScram"
            } else {
                "BootstrapBrokerStringSaslIam"
            }
        ),
    };
    let given = kafka_config(servers, file)?;
    if LOGIN.iter().any(|name| given.get(name).is_some()) {
        return Ok(given);
    }
    let mut config = given;
    config.set("security.protocol", "SASL_SSL");
    let (mechanism, secret) = match (scram_secret(stack), is_confluent(stack)) {
        (_, true) => ("PLAIN", stack.resource("KafkaSecret")?),
        (Some(secret), false) => ("SCRAM-SHA-512", secret),
        (None, false) => {
            let (name, value) = BY_MSK_IAM;
            config.set(name, value);
            return Ok(config);
        }
    };
    let login = login(stack, secret).await?;
    config.set("sasl.mechanism", mechanism);
    config.set("sasl.username", login.username).set("sasl.password", login.password);
    Ok(config)
}

/// Whether the secret by which the functions log in to Kafka can be read and is whole; `None` where they need none: with Amazon MSK by IAM.
pub(crate) async fn check_login(stack: &Stack) -> Option<anyhow::Result<()>> {
    let secret = match scram_secret(stack) {
        _ if is_confluent(stack) => match stack.resource("KafkaSecret") {
            Ok(secret) => secret,
            Err(error) => return Some(Err(error)),
        },
        secret => secret?,
    };
    Some(login(stack, secret).await.map(drop))
}

fn is_confluent(stack: &Stack) -> bool {
    stack.parameter("KafkaProvider") == Some("confluent")
}

fn scram_secret(stack: &Stack) -> Option<&str> {
    stack.parameter("MskScramSecretArn").filter(|arn| !arn.is_empty())
}

async fn login(stack: &Stack, secret: &str) -> anyhow::Result<Login> {
    let place = Place::SecretsManager(secret.to_owned());
    let secret = Secret::at(place, Some(stack.config().clone()));
    let text = secret.read().await?.expose_secret();
    // what is wrong with it is not told: it would repeat parts of it
    let login: Option<Login> = serde_json::from_str(text).ok();
    login
        .filter(|login| !login.username.is_empty() && !login.password.is_empty())
        .context("the secret of Kafka is not {\"username\": …, \"password\": …}")
}
