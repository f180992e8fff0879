//! `probegram doctor`: all parts of a deployed stack, each in a line, and what mends it. It changes nothing.
//!
//! Each part is looked at by itself: one that cannot be looked at says so, and hides no other.

use std::error::Error as StdError;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricAlarm, StateValue, Statistic};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{PointInTimeRecoveryStatus, TableStatus, TimeToLiveStatus};
use capture_agent::doctor::{Finding, tell};
use domain::watchdog::{Mapping, is_in_trouble, span};
use jiff::tz::TimeZone;
use runtime::log::with_causes;
use runtime::zoned::for_people;
use state::watchdog::{Remembered, Subject};
use state::{Table, chats, generation, progress, watchdog};

use crate::cli::OfStack;
use crate::stack::Stack;
use crate::{owner_code, remote_table, stack_kafka, webhook};

/// How long one part is looked at.
const PATIENCE: Duration = Duration::from_secs(30);
const MINUTE_MS: i64 = 60 * 1000;
/// The schedule comes every minute: whoever has not looked for so long does not.
const LOOKED_WITHIN_MS: i64 = 5 * MINUTE_MS;
/// CloudWatch's newest value of the lag is looked for in so long a time, by minutes.
const LAG_WITHIN_S: i64 = 15 * 60;
const LAG_PERIOD_S: i32 = 60;
/// As of the template's parameter MaxLagRecords.
const MAX_LAG: f64 = 10_000.0;
/// The topics' functions, whose names are too long to tell them by.
const FUNCTIONS: [(&str, &str); 4] = [
    ("AggregateBlueFunction", "aggregate (blue)"),
    ("AggregateGreenFunction", "aggregate (green)"),
    ("MaterializeFunction", "materialize"),
    ("AlertFunction", "alert"),
];
/// What CloudFormation and the console call a mapping.
const MAPPING: &str = "AWS::Lambda::EventSourceMapping";
/// The mappings that are there whatever writes the counts.
const MAPPINGS: [&str; 5] =
    ["AlertMapping", "WatchListMapping", "ClientsMapping", "DevicesMapping", "SensorsMapping"];

/// Looks at all of it.
///
/// # Errors
/// When the stack is not found.
pub async fn run(options: OfStack) -> anyhow::Result<ExitCode> {
    let stack = &Stack::find(&options.stack).await?;
    let now_ms = runtime::clock::now_ms();
    let (bot, kafka, mappings, lag, table, contents, alarms) = tokio::join!(
        in_time("The bot", of_bot(stack)),
        in_time("The login at Kafka", of_kafka(stack)),
        in_time("The event source mappings", of_mappings(stack, now_ms)),
        in_time("The lag", of_lag(stack, now_ms)),
        in_time("The table", of_table(stack)),
        in_time("What is in the table", of_contents(stack, now_ms)),
        in_time("The alarms", of_alarms(stack)),
    );
    let mut findings = vec![of_stack(stack)];
    findings.extend([bot, kafka, mappings, lag, table, contents, alarms].into_iter().flatten());
    let mut stdout = std::io::stdout();
    let is_well = tell(&findings, &mut stdout)?;
    stdout.flush()?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn in_time(what: &str, look: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    let in_vain = |_elapsed| {
        let what = format!("{what} cannot be looked at: AWS or Telegram does not answer.");
        vec![Finding::bad(what, "see whether this machine reaches them, and look again")]
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(in_vain)
}

fn of_stack(stack: &Stack) -> Finding {
    let (name, status) = (stack.name(), stack.status());
    if status.ends_with("_IN_PROGRESS") {
        return Finding::Note(format!("Stack {name} is being changed ({status}): look again afterwards."));
    }
    if matches!(status, "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE") {
        return Finding::Good(format!("Stack {name} is deployed ({status})."));
    }
    let what = match status {
        "UPDATE_ROLLBACK_COMPLETE" => {
            format!("The last update of stack {name} failed: it is as it was before ({status}).")
        }
        _ => format!("Stack {name} is not whole ({status})."),
    };
    let why = format!(
        "aws cloudformation describe-stack-events --stack-name {name} --query 'StackEvents[?ends_with(ResourceStatus,`FAILED`)].[LogicalResourceId,ResourceStatusReason]' --output text   (the last line is the cause)"
    );
    Finding::bad(what, why)
}

/// Its token, and where Telegram posts what is written to it.
async fn of_bot(stack: &Stack) -> Vec<Finding> {
    let bot = match webhook::bot(stack).await {
        Ok(bot) => bot,
        Err(error) => {
            let what = format!("The bot's token cannot be read: {error:#}.");
            let mend = format!(
                "allow yourself secretsmanager:GetSecretValue; if the secret is empty or gone, deploy stack {} with TelegramToken again",
                stack.name()
            );
            return vec![Finding::bad(what, mend)];
        }
    };
    let mut findings = match bot.user_name().await {
        Ok(name) => vec![Finding::Good(format!("The bot's token is that of @{name}."))],
        Err(error) => {
            let what = format!("Telegram does not take the bot's token: {}.", with_causes(&error));
            let mend = "see that @BotFather gives the same token, and that Telegram is reached from here; a new token goes into TelegramToken, then deploy again";
            return vec![Finding::bad(what, mend)];
        }
    };
    match webhook::look(stack, &bot).await {
        Ok(of_webhook) => findings.extend(of_webhook),
        Err(error) => findings
            .push(Finding::bad(format!("Telegram does not tell of the webhook: {error:#}."), "look again")),
    }
    findings
}

async fn of_kafka(stack: &Stack) -> Vec<Finding> {
    match stack_kafka::check_login(stack).await {
        None => vec![Finding::Good("The functions log in to Kafka by IAM: there is no secret.".to_owned())],
        Some(Ok(())) => vec![Finding::Good("The secret of Kafka has a user name and a password.".to_owned())],
        Some(Err(error)) => {
            let what = format!("The secret of Kafka cannot be used: {error:#}.");
            let mend = "allow yourself secretsmanager:GetSecretValue; it has to be {\"username\": …, \"password\": …}, for Confluent of KafkaApiKey and KafkaApiSecret";
            vec![Finding::bad(what, mend)]
        }
    }
}

async fn of_mappings(stack: &Stack, now_ms: i64) -> Vec<Finding> {
    let client = aws_sdk_lambda::Client::new(stack.config());
    let mut findings: Vec<Finding> = MAPPINGS
        .iter()
        .filter(|name| stack.resource(name).is_err())
        .map(|name| absent(name, stack))
        .collect();
    if !["AggregateBlueMapping", "AggregateGreenMapping"].iter().any(|name| stack.resource(name).is_ok()) {
        findings.push(absent("AggregateBlueMapping", stack));
    }
    for (logical, id) in stack.resources_of_type(MAPPING) {
        let asked = client.get_event_source_mapping().uuid(id).send().await;
        match asked {
            Ok(told) => {
                let mapping = Mapping {
                    function: logical.to_owned(),
                    topic: Some(told.topics.unwrap_or_default().join(", ")),
                    state: told.state.unwrap_or_default(),
                    last_result: told.last_processing_result.unwrap_or_default(),
                };
                findings.push(of_mapping(&mapping, stack, now_ms));
            }
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                findings.push(absent(logical, stack));
            }
            Err(error) => findings.push(refused(logical, &error, "lambda:GetEventSourceMapping")),
        }
    }
    findings
}

fn absent(logical: &str, stack: &Stack) -> Finding {
    let what = format!("{logical} is not there: nothing comes out of its topic.");
    Finding::bad(what, format!("deploy stack {} again (sam build, sam deploy)", stack.name()))
}

/// Of a mapping by its logical id.
fn of_mapping(mapping: &Mapping, stack: &Stack, now_ms: i64) -> Finding {
    let Mapping { function: name, topic, state, last_result } = mapping;
    let topic = topic.as_deref().filter(|topic| !topic.is_empty());
    let topic = topic.map_or_else(|| "its topic".to_owned(), |topic| format!("topic {topic}"));
    if !is_in_trouble(mapping, now_ms) {
        return Finding::Good(format!("{name} reads {topic}: {state}, {last_result}."));
    }
    let says = last_result.trim_end_matches('.');
    let id = stack.resource(name).unwrap_or("UUID");
    match state.as_str() {
        "Enabled" => {
            Finding::bad(format!("{name} does not get on with {topic}: {says}."), mend_mapping(says))
        }
        "Disabled" | "Disabling" => Finding::bad(
            format!("{name} does not read {topic}: it is {state}. Nothing is lost while Kafka keeps it."),
            format!("aws lambda update-event-source-mapping --uuid {id} --enabled"),
        ),
        _ => Finding::Note(format!("{name} of {topic} is {state} ({says}): look again in some minutes.")),
    }
}

/// What to do about a mapping's problem, in Lambda's words.
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-kafka-troubleshoot.html>
fn mend_mapping(problem: &str) -> &'static str {
    let words = problem.to_ascii_lowercase();
    let has = |one_of: &[&str]| one_of.iter().any(|word| words.contains(word));
    let network = "see that Lambda reaches the brokers: BootstrapServers for Confluent; for MSK the cluster's subnets need a way to Lambda and STS (endpoints or NAT), and its security group has to let itself in";
    // its text goes on about Lambda, Secrets Manager and authentication
    if has(&["connection error", "vpc"]) {
        network
    } else if has(&["authoriz", "access denied", "permission", "execution role"]) {
        "let the functions' Kafka user (ACLs), or KafkaPolicy for IAM, read the topic and be in groups that begin with the table's name"
    } else if has(&["authenticat", "sasl", "credential", "certificate", "secret"]) {
        "see that the login is right: KafkaApiKey and KafkaApiSecret for Confluent, MskScramSecretArn or IAM for MSK; then deploy again"
    } else if words.contains("topic") {
        "make the topic: `probegram topics --bootstrap-servers … --kafka-config … --create`, with a login that may; or correct its name in the stack's parameters"
    } else if has(&["connection", "connect", "broker", "resolve", "network", "timed out"]) {
        network
    } else if has(&["function", "lambda call", "throttl"]) {
        "look into the function's log: the batch is delivered again until it succeeds, and nothing is lost"
    } else {
        "look at the mapping in the console of Lambda, at Configuration > Triggers"
    }
}

/// How far each function is behind its topics, as CloudWatch has it.
async fn of_lag(stack: &Stack, now_ms: i64) -> Vec<Finding> {
    let client = aws_sdk_cloudwatch::Client::new(stack.config());
    let most = stack.parameter("MaxLagRecords").and_then(|most| most.parse().ok()).unwrap_or(MAX_LAG);
    let mut findings = Vec::new();
    for (logical, name) in FUNCTIONS {
        let Ok(function) = stack.resource(logical) else { continue };
        let now_s = now_ms / 1000;
        let asked = client
            .get_metric_statistics()
            .namespace("AWS/Lambda")
            .metric_name("OffsetLag")
            .dimensions(Dimension::builder().name("FunctionName").value(function).build())
            .start_time(DateTime::from_secs(now_s - LAG_WITHIN_S))
            .end_time(DateTime::from_secs(now_s))
            .period(LAG_PERIOD_S)
            .statistics(Statistic::Maximum);
        match asked.send().await {
            Ok(told) => {
                let points = told.datapoints.unwrap_or_default();
                let newest = points.iter().max_by_key(|point| point.timestamp.map(|at| at.secs()));
                findings.push(lag(name, newest.and_then(|point| point.maximum), most));
            }
            Err(error) => {
                let what = format!("How far {name} is behind");
                findings.push(refused(&what, &error, "cloudwatch:GetMetricStatistics"));
            }
        }
    }
    findings
}

fn lag(name: &str, records: Option<f64>, most: f64) -> Finding {
    match records {
        None => Finding::Note(format!(
            "CloudWatch does not know how far {name} is behind: it tells that while records come in."
        )),
        Some(records) if records > most => Finding::bad(
            format!(
                "{name} is {records:.0} records behind its topic, more than the {most:.0} of MaxLagRecords."
            ),
            "look again: where it shrinks, wait; else look into the function's log, and at its mapping above",
        ),
        Some(1.0) => Finding::Good(format!("{name} is 1 record behind its topic.")),
        Some(records) => Finding::Good(format!("{name} is {records:.0} records behind its topic.")),
    }
}

/// The table itself: what protects it, and what keeps it small.
async fn of_table(stack: &Stack) -> Vec<Finding> {
    let client = aws_sdk_dynamodb::Client::new(stack.config());
    let name = match stack.output("TableName") {
        Ok(name) => name,
        Err(error) => return vec![Finding::bad(format!("{error:#}."), "sam build, sam deploy")],
    };
    let (described, expiry, backups) = tokio::join!(
        client.describe_table().table_name(name).send(),
        client.describe_time_to_live().table_name(name).send(),
        client.describe_continuous_backups().table_name(name).send(),
    );
    let mut findings = Vec::new();
    match described {
        Ok(told) => {
            let table = told.table;
            let status = table.as_ref().and_then(|table| table.table_status.clone());
            let is_protected = table.is_some_and(|table| table.deletion_protection_enabled == Some(true));
            findings.push(match status {
                Some(TableStatus::Active) => Finding::Good(format!("Table {name} is active.")),
                Some(TableStatus::Updating) => {
                    Finding::Note(format!("Table {name} is being changed, and serves meanwhile."))
                }
                other => Finding::bad(
                    format!(
                        "Table {name} does not serve: it is {}.",
                        other.as_ref().map_or("?", |status| status.as_str())
                    ),
                    "look at it in the console of DynamoDB",
                ),
            });
            findings.push(if is_protected {
                Finding::Good("It is protected from being deleted.".to_owned())
            } else {
                Finding::bad(
                    "It is not protected from being deleted.",
                    format!("aws dynamodb update-table --table-name {name} --deletion-protection-enabled"),
                )
            });
        }
        Err(error) if error.code() == Some("ResourceNotFoundException") => {
            let what = format!("Table {name} is gone, and with it everything that was counted.");
            let mend = "restore it from a backup to this name: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/PointInTimeRecovery.Tutorial.html";
            return vec![Finding::bad(what, mend)];
        }
        Err(error) => findings.push(refused("The table", &error, "dynamodb:DescribeTable")),
    }
    findings.push(match expiry {
        Ok(told) => {
            let told = told.time_to_live_description;
            match told.and_then(|told| told.time_to_live_status) {
                Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling) => {
                    Finding::Good("What has expired is removed from it.".to_owned())
                }
                _ => Finding::bad(
                    "What has expired is not removed from it: it grows, and keeps what it should not.",
                    format!("aws dynamodb update-time-to-live --table-name {name} --time-to-live-specification Enabled=true,AttributeName=expires"),
                ),
            }
        }
        Err(error) => refused("Whether what has expired is removed", &error, "dynamodb:DescribeTimeToLive"),
    });
    findings.push(match backups {
        Ok(told) => {
            let told = told.continuous_backups_description;
            let recovery = told.and_then(|told| told.point_in_time_recovery_description);
            match recovery.and_then(|told| told.point_in_time_recovery_status) {
                Some(PointInTimeRecoveryStatus::Enabled) => {
                    Finding::Good("It can be restored to any second of the last days.".to_owned())
                }
                _ => Finding::bad(
                    "It cannot be restored to a time before something went wrong.",
                    format!("aws dynamodb update-continuous-backups --table-name {name} --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"),
                ),
            }
        }
        Err(error) => refused("Whether it can be restored", &error, "dynamodb:DescribeContinuousBackups"),
    });
    findings
}

/// What the table says: how new it is, what the watchdog sees, and whether anybody owns the bot.
async fn of_contents(stack: &Stack, now_ms: i64) -> Vec<Finding> {
    let zone = TimeZone::system();
    let group = match stack.output("AggregateGroup") {
        Ok(group) => group,
        Err(error) => return vec![Finding::bad(format!("{error:#}."), "sam build, sam deploy")],
    };
    let table = match remote_table::of_stack(stack) {
        Ok(table) => table,
        Err(error) => return vec![Finding::bad(format!("{error:#}."), "sam build, sam deploy")],
    };
    let (newest, remembered, chats) =
        tokio::join!(newest(&table, group), watchdog::all(&table), chats::all(&table));
    let cannot = |what: &str, error: &state::Error| {
        Finding::bad(
            format!("{what} cannot be looked at: {}.", with_causes(error)),
            "allow yourself dynamodb:Query and dynamodb:GetItem on the table",
        )
    };
    let mut findings = Vec::new();
    findings.push(match newest {
        Ok((serving, Some(newest))) => {
            let ago = span(now_ms.saturating_sub(newest));
            Finding::Note(format!(
                "The newest record that is counted is of {} ({ago} ago); generation {serving} serves.",
                for_people(newest, &zone)
            ))
        }
        Ok((serving, None)) => Finding::Note(format!(
            "Nothing was counted yet (generation {serving}): sensors write to topic {}.",
            stack.parameter("PcapTopic").unwrap_or("pcap")
        )),
        Err(error) => cannot("How new the counts are", &error),
    });
    match remembered {
        Ok(remembered) => findings.extend(of_watchdog(&remembered, &zone, now_ms)),
        Err(error) => findings.push(cannot("What the watchdog sees", &error)),
    }
    findings.push(match chats {
        Ok(chats) if owner_code::is_owned(&chats) => Finding::Good("The bot has an owner.".to_owned()),
        Ok(_nobody) => Finding::bad(
            "Nobody owns the bot, so it answers nobody.",
            format!("probegram owner-code --stack {}", stack.name()),
        ),
        Err(error) => cannot("Who owns the bot", &error),
    });
    findings
}

/// The generation that serves, and when its newest record came into the topic.
async fn newest(table: &Table, group: &str) -> Result<(u32, Option<i64>), state::Error> {
    let serving = generation::serving(table).await?;
    let positions = progress::of_group(table, &generation::consumer_group(group, serving)).await?;
    let newest = positions.iter().map(|at| at.progress.timestamp).filter(|newest| *newest >= 0).max();
    Ok((serving, newest))
}

/// What the watchdog sees, which looks every minute, and whether it does.
fn of_watchdog(remembered: &[Remembered], zone: &TimeZone, now_ms: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let looked = remembered.iter().find(|one| one.subject == Subject::Way).map(|one| one.memory.looked_ms);
    match looked {
        Some(looked) if now_ms.saturating_sub(looked) < LOOKED_WITHIN_MS => {
            findings.push(Finding::Good("The schedule has the watchdog look every minute.".to_owned()));
        }
        looked => {
            let what = match looked {
                Some(looked) => format!(
                    "The watchdog last looked at {}: the schedule does not call alert, or alert fails. Messages that had to wait do so still.",
                    for_people(looked, zone)
                ),
                None => "The watchdog has not looked yet: the schedule does not call alert, or alert fails."
                    .to_owned(),
            };
            let mend = "where the stack is older than some minutes, see that the rule EveryMinute is enabled, and look into the log of alert";
            findings.push(Finding::bad(what, mend));
        }
    }
    for one in remembered {
        // what is well already, but not for long enough to be told
        let lasting = one.memory.lasting().filter(|(_, episode)| episode.well_since.is_none());
        for (_, episode) in lasting {
            let reason = episode.reason.text(|time| for_people(time, zone));
            let since = for_people(episode.since, zone);
            findings.push(match &one.subject {
                Subject::Sensor(name) => Finding::bad(
                    format!("Sensor {name}: {reason} (since {since})."),
                    "capture-agent doctor, on the sensor",
                ),
                Subject::Way => Finding::bad(
                    format!("The way into the table: {reason} (since {since})."),
                    "see the mappings and the lag above",
                ),
            });
        }
    }
    findings
}

async fn of_alarms(stack: &Stack) -> Vec<Finding> {
    let names: Vec<String> =
        stack.resources_of_type("AWS::CloudWatch::Alarm").map(|(_, name)| name.to_owned()).collect();
    if names.is_empty() {
        return vec![Finding::Note("The stack has no alarms.".to_owned())];
    }
    let client = aws_sdk_cloudwatch::Client::new(stack.config());
    let count = names.len();
    let mut findings = match client.describe_alarms().set_alarm_names(Some(names)).send().await {
        Ok(told) => of_told_alarms(&told.metric_alarms.unwrap_or_default(), count),
        Err(error) => vec![refused("The alarms", &error, "cloudwatch:DescribeAlarms")],
    };
    let topic = stack.output("AlarmTopicArn").unwrap_or("ARN");
    findings.push(Finding::Note(match stack.parameter("AlarmEmail") {
        None | Some("") => "Alarms are e-mailed to nobody: AlarmEmail is empty.".to_owned(),
        Some(email) => format!(
            "Alarms are e-mailed to {email} once the link that AWS has sent there was opened. It was not while this says PendingConfirmation: \
             aws sns list-subscriptions-by-topic --topic-arn {topic}"
        ),
    }));
    findings
}

fn of_told_alarms(alarms: &[MetricAlarm], count: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of = |state: &StateValue| alarms.iter().filter(|alarm| alarm.state_value() == Some(state)).collect();
    let raised: Vec<&MetricAlarm> = of(&StateValue::Alarm);
    let unknown: Vec<&MetricAlarm> = of(&StateValue::InsufficientData);
    for alarm in &raised {
        let (name, why) = (alarm.alarm_name().unwrap_or("?"), alarm.state_reason().unwrap_or_default());
        let about = alarm.alarm_description().unwrap_or("An alarm is raised.").trim_end();
        findings.push(Finding::bad(format!("{about} ({name})"), why.trim_end()));
    }
    for alarm in &unknown {
        let name = alarm.alarm_name().unwrap_or("?");
        findings.push(Finding::Note(format!("{name} has not seen enough to be raised or not.")));
    }
    let missing = count.saturating_sub(alarms.len());
    if missing > 0 {
        let what = format!("{missing} of {count} alarms are gone.");
        findings.push(Finding::bad(what, "make them again: sam build, sam deploy"));
    }
    if raised.is_empty() && missing == 0 {
        let well = count.saturating_sub(unknown.len());
        findings.push(Finding::Good(format!("No alarm is raised ({well} of {count} are OK).")));
    }
    findings
}

/// Something could not be looked at: what AWS says, and what to do.
fn refused(what: &str, error: &(impl ProvideErrorMetadata + StdError + 'static), action: &str) -> Finding {
    let is_denied =
        error.code().is_some_and(|code| code.contains("AccessDenied") || code.contains("Unauthorized"));
    let why = error.message().map_or_else(|| with_causes(error), str::to_owned);
    let what = format!("{what} cannot be looked at: {}.", why.trim_end_matches('.'));
    let mend = if is_denied {
        format!("allow yourself {action}   (permission needed)")
    } else {
        "see whether this machine reaches AWS, and look again".to_owned()
    };
    Finding::bad(what, mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(findings: &[Finding]) -> (bool, String) {
        let mut text = Vec::new();
        let is_well = tell(findings, &mut text).unwrap();
        (is_well, String::from_utf8(text).unwrap())
    }

    #[test]
    fn each_problem_of_a_mapping_says_what_mends_it() {
        for (problem, words) in [
            (
                "PROBLEM: Connection error. Please check your event source connection configuration. If your event source lives in a VPC, …",
                "subnets",
            ),
            (
                "PROBLEM: Connection error. Your VPC must be able to connect to Lambda and STS, as well as Secrets Manager if authentication is required.",
                "subnets",
            ),
            ("PROBLEM: Cluster failed to authorize Lambda", "ACLs"),
            ("PROBLEM: Topic authorization failed", "ACLs"),
            ("PROBLEM: SASL authentication failed", "KafkaApiKey"),
            (
                "PROBLEM: Server failed to authenticate Lambda or Lambda failed to authenticate server",
                "KafkaApiKey",
            ),
            ("PROBLEM: Provided certificate or private key is invalid", "KafkaApiKey"),
            (
                "PROBLEM: The specified topic was not found",
                "probegram topics --bootstrap-servers … --kafka-config … --create",
            ),
            ("PROBLEM: Function call failed", "log"),
            ("PROBLEM: something new", "console"),
        ] {
            let mend = mend_mapping(problem);
            assert!(mend.contains(words), "{problem}: {mend}");
        }
    }

    #[test]
    fn a_lag_beyond_the_alarms_is_bad_and_none_is_no_trouble() {
        let (is_well, text) = told(&[lag("alert", Some(10_001.0), 10_000.0)]);
        assert!(!is_well && text.contains("alert is 10001 records behind"), "{text}");
        let (is_well, text) = told(&[lag("alert", Some(10_000.0), 10_000.0), lag("alert", None, 10_000.0)]);
        assert!(is_well && text.contains("✅ alert is 10000 records behind"), "{text}");
    }

    #[test]
    fn an_alarm_that_is_raised_or_gone_is_bad_and_one_that_waits_is_not() {
        let alarm = |name: &str, state| {
            let alarm = MetricAlarm::builder().alarm_name(name).state_value(state);
            alarm.alarm_description("Alerts are late.").state_reason("Threshold Crossed").build()
        };
        let ok = alarm("home-AlertLagAlarm-1", StateValue::Ok);
        let waits = alarm("home-BotErrorsAlarm-1", StateValue::InsufficientData);
        let raised = alarm("home-AlertErrorsAlarm-1", StateValue::Alarm);
        let (is_well, text) = told(&of_told_alarms(&[ok.clone(), waits.clone()], 2));
        assert!(is_well && text.contains("No alarm is raised (1 of 2 are OK)"), "{text}");
        assert!(text.contains("home-BotErrorsAlarm-1 has not seen enough"), "{text}");
        let (is_well, text) = told(&of_told_alarms(&[ok.clone(), waits.clone(), raised], 3));
        assert!(
            !is_well && text.contains("❌ Alerts are late. (home-AlertErrorsAlarm-1)\n   → Threshold"),
            "{text}"
        );
        let (is_well, text) = told(&of_told_alarms(&[ok, waits], 3));
        assert!(!is_well && text.contains("1 of 3 alarms are gone"), "{text}");
    }

    #[test]
    fn a_watchdog_that_does_not_look_is_bad_and_so_is_what_it_sees() {
        use domain::heartbeat::Heartbeat;
        use domain::watchdog::{Settings, judge_sensor};

        let now_ms = 1_587_225_867_000;
        let way = |looked_ms| {
            let mut way = Remembered::nothing(Subject::Way);
            way.memory.looked_ms = looked_ms;
            way
        };
        let (is_well, text) = told(&of_watchdog(&[way(now_ms - MINUTE_MS)], &TimeZone::UTC, now_ms));
        assert!(is_well && text.contains("every minute"), "{text}");
        let (is_well, text) = told(&of_watchdog(&[way(now_ms - 6 * MINUTE_MS)], &TimeZone::UTC, now_ms));
        assert!(!is_well && text.contains("last looked at 2020-04-18 15:58:27 UTC"), "{text}");
        let (is_well, text) = told(&of_watchdog(&[], &TimeZone::UTC, now_ms));
        assert!(!is_well && text.contains("has not looked yet"), "{text}");

        let mut sensor = Remembered::nothing(Subject::Sensor("hallway".to_owned()));
        let heartbeat = Heartbeat { sensor: "hallway".to_owned(), ..Heartbeat::default() };
        let heard_ms = now_ms - 10 * MINUTE_MS;
        let judged = judge_sensor(&heartbeat, heard_ms, None, 0, true, &Settings::default(), now_ms);
        sensor.memory.step(&judged, now_ms);
        let (is_well, text) = told(&of_watchdog(&[way(now_ms), sensor], &TimeZone::UTC, now_ms));
        assert!(!is_well && text.contains("❌ Sensor hallway: no heartbeat for 10 min"), "{text}");
    }
}
