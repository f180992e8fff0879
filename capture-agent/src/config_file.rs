//! Settings from a file and from the environment, which become arguments in front of those of the command line: so there is one
//! list of settings, with one check of each.
//!
//! The file is TOML. A key is a flag's long name, a list gives a flag several times, and table `[kafka]` holds librdkafka's
//! properties. A variable is the flag's name in capitals after `CAPTURE_AGENT_`; `CAPTURE_AGENT_KAFKA_SASL_PASSWORD` is
//! property `sasl.password`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use toml::{Table, Value};

use crate::cli::Cli;

const VARIABLE: &str = "CAPTURE_AGENT_";
const KAFKA_VARIABLE: &str = "CAPTURE_AGENT_KAFKA_";
/// The flag that a variable of [`KAFKA_VARIABLE`]'s kind means, and no property.
const KAFKA_CONFIG_VARIABLE: &str = "CAPTURE_AGENT_KAFKA_CONFIG";

/// What is wrong with a configuration file. No value is ever shown: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML.
    #[error("line {line}: {why}")]
    NotToml {
        /// The line, from 1.
        line: usize,
        /// What TOML's reader says.
        why: String,
    },
    /// There is no such setting.
    #[error("there is no setting {0}; the settings are those of `capture-agent --help`, without the --")]
    Unknown(String),
    /// A setting has a value of a kind that it cannot have.
    #[error("{key}: expected {expected}")]
    WrongKind {
        /// The setting.
        key: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// What the program is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Its work.
    Capture,
    /// Say what is missing for it.
    Doctor,
}

/// The settings of this process: its arguments, the environment, and the file that these name. Ends the process with a message
/// when they are wrong, or when help is asked for.
///
/// # Errors
/// [`ConfigFileError`], with the file's name.
pub fn settings() -> Result<(Verb, Cli), (PathBuf, ConfigFileError)> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let verb = match arguments.get(1) {
        Some(word) if word == "doctor" => {
            arguments.remove(1);
            Verb::Doctor
        }
        _ => Verb::Capture,
    };
    let command = command(verb);
    let given = command.clone().ignore_errors(true).get_matches_from(&arguments);
    let mut all: Vec<OsString> = arguments.iter().take(1).cloned().collect();
    if let Some(path) = given.get_one::<PathBuf>("config") {
        let from_file = std::fs::read_to_string(path)
            .map_err(|source| ConfigFileError::File { path: path.clone(), source })
            .and_then(|text| read(&text))
            .map_err(|error| (path.clone(), error))?;
        all.extend(from_file.into_iter().filter(|setting| !setting.is_given(&given)).flat_map(Setting::arguments));
    }
    all.extend(properties_of_environment());
    all.extend(arguments.into_iter().skip(1));
    let matches = command.get_matches_from(all);
    Ok((verb, Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())))
}

/// The arguments that a configuration file stands for.
///
/// # Errors
/// [`ConfigFileError`].
pub fn arguments(text: &str) -> Result<Vec<OsString>, ConfigFileError> {
    Ok(read(text)?.into_iter().flat_map(Setting::arguments).collect())
}

/// The command line, with a variable for each flag.
fn command(verb: Verb) -> clap::Command {
    let command = Cli::command().mut_args(|argument| match argument.get_long() {
        Some(long) if argument.get_env().is_none() && !matches!(long, "help" | "version") => {
            let variable = format!("{VARIABLE}{}", long.replace('-', "_").to_uppercase());
            argument.env(variable).hide_env(true)
        }
        _ => argument,
    });
    match verb {
        Verb::Capture => command,
        // it is asked before everything is settled
        Verb::Doctor => ["source", "sink"]
            .into_iter()
            .fold(command, |command, group| command.mut_group(group, |group| group.required(false))),
    }
}

/// A setting of the file.
struct Setting {
    /// The id of the flag.
    id: String,
    arguments: Vec<OsString>,
}

impl Setting {
    fn arguments(self) -> Vec<OsString> {
        self.arguments
    }

    /// Whether the command line or the environment says otherwise. librdkafka's properties are many settings in one flag: the later
    /// one holds.
    fn is_given(&self, given: &ArgMatches) -> bool {
        self.id != PROPERTIES
            && matches!(
                given.value_source(&self.id),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            )
    }
}

const PROPERTIES: &str = "properties";

fn read(text: &str) -> Result<Vec<Setting>, ConfigFileError> {
    let table: Table = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigFileError::NotToml { line: before.matches('\n').count() + 1, why: error.message().to_owned() }
    })?;
    let command = Cli::command();
    let mut settings = Vec::new();
    for (key, value) in table {
        if key == "kafka" {
            let Value::Table(properties) = value else {
                return Err(ConfigFileError::WrongKind { key, expected: "a table of librdkafka's properties" });
            };
            let mut arguments = Vec::new();
            read_properties(&mut arguments, "", properties)?;
            settings.push(Setting { id: PROPERTIES.to_owned(), arguments });
            continue;
        }
        let flag = command.get_arguments().find(|argument| argument.get_long() == Some(&key));
        let Some(flag) = flag.filter(|_| !matches!(key.as_str(), "config" | "help" | "version")) else {
            return Err(ConfigFileError::Unknown(key));
        };
        let is_switch = !flag.get_action().takes_values();
        let arguments = match value {
            Value::Boolean(true) if is_switch || key == "spool" => vec![format!("--{key}").into()],
            Value::Boolean(false) if is_switch || key == "spool" => Vec::new(),
            _ if is_switch => return Err(ConfigFileError::WrongKind { key, expected: "true or false" }),
            Value::Array(values) => {
                let mut arguments = Vec::new();
                for value in &values {
                    arguments.push(argument(&key, value)?);
                }
                arguments
            }
            value => vec![argument(&key, &value)?],
        };
        settings.push(Setting { id: flag.get_id().to_string(), arguments });
    }
    Ok(settings)
}

fn argument(key: &str, value: &Value) -> Result<OsString, ConfigFileError> {
    Ok(format!("--{key}={}", scalar(key, value)?).into())
}

fn scalar(key: &str, value: &Value) -> Result<String, ConfigFileError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            Err(ConfigFileError::WrongKind { key: key.to_owned(), expected: "a text or a number" })
        }
    }
}

/// `sasl.password = "…"` without quotes is a table in a table for TOML.
fn read_properties(
    arguments: &mut Vec<OsString>,
    prefix: &str,
    properties: Table,
) -> Result<(), ConfigFileError> {
    for (name, value) in properties {
        let name = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => read_properties(arguments, &format!("{name}."), inner)?,
            value => {
                let value = scalar(&format!("kafka.{name}"), &value)?;
                arguments.extend(["-X".into(), format!("{name}={value}").into()]);
            }
        }
    }
    Ok(())
}

fn properties_of_environment() -> Vec<OsString> {
    let mut arguments = Vec::new();
    for (variable, value) in std::env::vars_os() {
        let Some(name) = variable.to_str().filter(|variable| *variable != KAFKA_CONFIG_VARIABLE) else {
            continue;
        };
        if let Some(name) = name.strip_prefix(KAFKA_VARIABLE) {
            let mut property = OsString::from(format!("{}=", name.replace('_', ".").to_lowercase()));
            property.push(value);
            arguments.extend(["-X".into(), property]);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Property;

    fn parse(text: &str) -> Cli {
        Cli::try_parse_from(std::iter::once("capture-agent".into()).chain(arguments(text).unwrap())).unwrap()
    }

    #[test]
    fn a_file_says_what_the_flags_would() {
        let cli = parse(
            "interface = [\"wlan1\", \"wlan2\"]\nset-monitor = true\nchannels = \"1,6,11\"\nring-all = false\n\
             spool = \"/var/lib/probegram\"\nspool-days = 3\n[kafka]\n\"sasl.username\" = \"key\"\nsasl.password = \"a=b\"\n",
        );
        assert_eq!(cli.interface, ["wlan1", "wlan2"]);
        assert!(cli.set_monitor && !cli.ring_all);
        assert_eq!(cli.spool, Some(Some(PathBuf::from("/var/lib/probegram"))));
        assert_eq!(cli.spool_days, 3);
        assert_eq!(cli.properties, ["sasl.username=key", "sasl.password=a=b"].map(Property::from));
        assert!(!format!("{cli:?}").contains("a=b"));
        let cli = parse("read = [\"a.pcap\", \"-x.pcap\"]\nspool = true\n");
        assert_eq!(cli.read, [PathBuf::from("a.pcap"), PathBuf::from("-x.pcap")]);
        assert_eq!(cli.spool, Some(None));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_shown() {
        for (text, expected) in [
            ("interface = \"wlan1\"\npassword = \"hunter2\"", "there is no setting password"),
            ("config = \"hunter2\"", "there is no setting config"),
            ("set-monitor = \"hunter2\"", "set-monitor: expected true or false"),
            ("sensor = { name = \"hunter2\" }", "sensor: expected a text"),
            ("kafka = \"hunter2\"", "kafka: expected a table"),
            ("[kafka]\nsasl.password = [\"hunter2\"]", "kafka.sasl.password: expected"),
            ("sensor = \"a\"\n\nsasl = hunter2", "line 3: "),
        ] {
            let error = arguments(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
