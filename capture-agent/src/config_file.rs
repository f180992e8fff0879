//! Settings from a file and from the environment, which become arguments in front of those of the command line: so there is one
//! list of settings, with one check of each.
//!
//! The file is TOML. A key is a flag's long name, a list gives a flag several times, and table `[kafka]` holds librdkafka's
//! properties. A variable is the flag's name in capitals after `CAPTURE_AGENT_`; `CAPTURE_AGENT_KAFKA_SASL_PASSWORD` is
//! property `sasl.password`.
//!
//! The command line beats the environment, which beats the file: also where a setting of the one excludes another of the other.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _};
use toml::{Table, Value};

use crate::cli::{Cli, Property, RADIO};
use crate::stderr::say;

const VARIABLE: &str = "CAPTURE_AGENT_";
/// What the names of variables begin with that are librdkafka's properties.
const PROPERTY_VARIABLE: &str = "kafka-";
/// The table of librdkafka's properties.
const TABLE: &str = "kafka";
/// The flags' ids.
const PROPERTIES: &str = "properties";
const KAFKA_CONFIG: &str = "kafka_config";
const INTERFACE: &str = "interface";
/// The group of what is captured from: one flag of it is given.
const SOURCE: &str = "source";
const LOG: &str = "log";

/// Which place has wrong settings, and what is wrong with them.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The configuration file.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: ConfigFileError,
    },
    /// A variable of the environment.
    #[error("{variable}: {why}")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong.
        why: ConfigFileError,
    },
}

/// What is wrong with a configuration file, or a variable. No value is ever shown: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("it cannot be read: {0}; give another one with --config")]
    Unreadable(std::io::Error),
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
/// [`SettingsError`].
pub fn settings() -> Result<(Verb, Cli), SettingsError> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let verb = match arguments.get(1) {
        Some(word) if word == "doctor" => {
            arguments.remove(1);
            Verb::Doctor
        }
        _ => Verb::Capture,
    };
    let mut command = command(verb);
    let given = command.clone().ignore_errors(true).get_matches_from(&arguments);
    let source = |flag: &Arg| given.value_source(flag.get_id().as_str());
    let mut merged = Merged::default();
    for flag in command.get_arguments().filter(|flag| source(flag) == Some(ValueSource::CommandLine)) {
        merged.set.push(flag.get_id().to_string());
    }
    merged.take(&command, of_environment(&command, std::env::vars_os())?);
    if given.value_source(LOG) == Some(ValueSource::EnvVariable) {
        merged.set.push(LOG.to_owned()); // RUST_LOG
    }
    let by_variable = || std::env::var_os(format!("{VARIABLE}CONFIG")).filter(|path| !path.is_empty());
    let path = given.get_one::<PathBuf>("config").cloned().or_else(|| by_variable().map(PathBuf::from));
    if let Some(path) = &path {
        let read = std::fs::read_to_string(path).map_err(ConfigFileError::Unreadable);
        let read = read.and_then(|text| of_file(&command, &text));
        merged.take(&command, read.map_err(|why| SettingsError::File { path: path.clone(), why })?);
    }
    arguments.splice(1..1, merged.arguments);
    let wrong = |error: clap::Error| -> ! {
        if let (Some(path), true) = (&path, error.use_stderr()) {
            say(format_args!("with the settings of {}:", path.display()));
        }
        error.exit()
    };
    let matches = command.try_get_matches_from_mut(arguments).unwrap_or_else(|error| wrong(error));
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.properties_below = merged.properties_below;
    if let Err(why) = cli.complete(&gethostname::gethostname()) {
        wrong(command.error(ErrorKind::ValueValidation, why));
    }
    Ok((verb, cli))
}

/// The arguments that a configuration file stands for.
///
/// # Errors
/// [`ConfigFileError`].
pub fn arguments(text: &str) -> Result<Vec<OsString>, ConfigFileError> {
    Ok(of_file(&Cli::command(), text)?.into_iter().flat_map(|setting| setting.arguments).collect())
}

fn command(verb: Verb) -> Command {
    match verb {
        Verb::Capture => Cli::command(),
        // it is asked before everything is settled
        Verb::Doctor => [SOURCE, "sink"]
            .into_iter()
            .fold(Cli::command(), |command, group| command.mut_group(group, |group| group.required(false))),
    }
}

/// A setting of the file or of the environment.
struct Setting {
    /// The id of the flag.
    id: String,
    /// None for a switch that is off.
    arguments: Vec<OsString>,
}

/// What was taken, from the strongest place to the weakest.
#[derive(Default)]
struct Merged {
    arguments: Vec<OsString>,
    /// Of places that are weaker than the one that names a file of properties.
    properties_below: Vec<Property>,
    /// The ids of what is set.
    set: Vec<String>,
    /// The ids of what is said not to be.
    unset: Vec<String>,
}

impl Merged {
    /// Takes what a weaker place says of settings that are still open. librdkafka's properties are many settings in one flag, of which
    /// the later one holds.
    fn take(&mut self, command: &Command, settings: Vec<Setting>) {
        let is_below = self.set.iter().any(|id| id == KAFKA_CONFIG);
        let (mut arguments, mut properties) = (Vec::new(), Vec::new());
        let (mut set, mut unset) = (Vec::new(), Vec::new());
        for mut setting in settings {
            if setting.id != PROPERTIES && self.excludes(command, &setting.id) {
                continue;
            }
            if setting.id == PROPERTIES && is_below {
                let property = setting.arguments.pop().and_then(|property| property.into_string().ok());
                properties.extend(property.map(Property));
                continue;
            }
            let is_set = !setting.arguments.is_empty();
            if is_set { &mut set } else { &mut unset }.push(setting.id);
            arguments.append(&mut setting.arguments);
        }
        self.arguments.splice(0..0, arguments);
        self.properties_below.splice(0..0, properties);
        self.set.append(&mut set);
        self.unset.append(&mut unset);
    }

    /// Whether a setting is there already, or one that it cannot be given with. What is of a radio is nothing without one.
    fn excludes(&self, command: &Command, id: &str) -> bool {
        let find = |id: &str| command.get_arguments().find(|flag| flag.get_id() == id);
        // clap does not count what a group excludes
        let is_source = |flag: &Arg| {
            command
                .get_groups()
                .any(|group| group.get_id() == SOURCE && group.get_args().any(|id| id == flag.get_id()))
        };
        let excludes = |one: &Arg, other: &Arg| {
            (is_source(one) && is_source(other))
                || command.get_arg_conflicts_with(one).iter().any(|flag| flag.get_id() == other.get_id())
        };
        let flag = find(id);
        let radio = find(INTERFACE).filter(|_| flag.and_then(Arg::get_help_heading) == Some(RADIO));
        let is_excluded = |set: &String| {
            let either = |flag| find(set).is_some_and(|set| excludes(flag, set) || excludes(set, flag));
            set == id || [flag, radio].into_iter().flatten().any(either)
        };
        self.set.iter().any(is_excluded) || self.unset.iter().any(|unset| unset == id)
    }
}

fn of_file(command: &Command, text: &str) -> Result<Vec<Setting>, ConfigFileError> {
    let table: Table = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigFileError::NotToml { line: before.matches('\n').count() + 1, why: error.message().to_owned() }
    })?;
    let mut settings = Vec::new();
    for (key, value) in table {
        if key == "config" {
            return Err(ConfigFileError::Unknown(key));
        }
        settings.extend(read(command, key, value)?);
    }
    Ok(settings)
}

/// An empty variable is as if it were not there: that is how a drop-in of systemd takes one back.
fn of_environment(
    command: &Command,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<Setting>, SettingsError> {
    let mut settings = Vec::new();
    for (variable, value) in variables.filter(|(_, value)| !value.is_empty()) {
        let variable = variable.to_string_lossy().into_owned();
        let Some(name) = variable.strip_prefix(VARIABLE) else { continue };
        let read = of_variable(command, &name.replace('_', "-").to_lowercase(), &value);
        settings.extend(read.map_err(|why| SettingsError::Variable { variable, why })?);
    }
    Ok(settings)
}

fn of_variable(command: &Command, key: &str, value: &OsStr) -> Result<Vec<Setting>, ConfigFileError> {
    let Some(text) = value.to_str() else {
        return Err(ConfigFileError::WrongKind { key: key.to_owned(), expected: "a text in UTF-8" });
    };
    let flag = flag(command, key);
    if let (None, Some(property)) = (flag, key.strip_prefix(PROPERTY_VARIABLE)) {
        let property = (property.replace('-', "."), Value::String(text.to_owned()));
        return read(command, TABLE.to_owned(), Value::Table(Table::from_iter([property])));
    }
    let value = match text.to_lowercase().as_str() {
        "true" | "1" | "yes" if flag.is_some_and(may_be_switched) => Value::Boolean(true),
        "false" | "0" | "no" if flag.is_some_and(may_be_switched) => Value::Boolean(false),
        _ => Value::String(text.to_owned()),
    };
    read(command, key.to_owned(), value)
}

/// The flag that a setting means.
fn flag<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|flag| flag.get_long() == Some(key))
}

/// Whether a flag may be given without a value: a switch, or `--spool`.
fn may_be_switched(flag: &Arg) -> bool {
    !flag.get_action().takes_values() || flag.get_num_args().is_some_and(|number| number.min_values() == 0)
}

/// The one meaning of a setting, in the file or in the environment.
fn read(command: &Command, key: String, value: Value) -> Result<Vec<Setting>, ConfigFileError> {
    if key == TABLE {
        let Value::Table(properties) = value else {
            return Err(ConfigFileError::WrongKind { key, expected: "a table of librdkafka's properties" });
        };
        let mut settings = Vec::new();
        read_properties(&mut settings, "", properties)?;
        return Ok(settings);
    }
    let Some(flag) = flag(command, &key) else { return Err(ConfigFileError::Unknown(key)) };
    let arguments = match value {
        Value::Boolean(true) if may_be_switched(flag) => vec![format!("--{key}").into()],
        Value::Boolean(false) if may_be_switched(flag) => Vec::new(),
        _ if !flag.get_action().takes_values() => {
            return Err(ConfigFileError::WrongKind { key, expected: "true or false" });
        }
        Value::Array(values) => {
            values.iter().map(|value| argument(&key, value)).collect::<Result<_, ConfigFileError>>()?
        }
        value => vec![argument(&key, &value)?],
    };
    Ok(vec![Setting { id: flag.get_id().to_string(), arguments }])
}

fn argument(key: &str, value: &Value) -> Result<OsString, ConfigFileError> {
    without_nul(key, format!("--{key}={}", scalar(key, value)?))
}

/// What libraries in C, and the kernel, cannot be told. Only TOML can say it: neither arguments nor the environment have it.
fn without_nul(key: &str, argument: String) -> Result<OsString, ConfigFileError> {
    if argument.contains('\0') {
        let key = key.escape_debug().to_string();
        return Err(ConfigFileError::WrongKind {
            key,
            expected: "a text without the character NUL (\\u0000)",
        });
    }
    Ok(argument.into())
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
    settings: &mut Vec<Setting>,
    prefix: &str,
    properties: Table,
) -> Result<(), ConfigFileError> {
    for (name, value) in properties {
        let name = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => read_properties(settings, &format!("{name}."), inner)?,
            value => {
                let key = format!("{TABLE}.{name}");
                let property = without_nul(&key, format!("{name}={}", scalar(&key, &value)?))?;
                settings.push(Setting { id: PROPERTIES.to_owned(), arguments: vec!["-X".into(), property] });
            }
        }
    }
    Ok(())
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
             spool = \"/var/lib/probegram\"\nspool-days = 3\n[kafka]\nsasl.password = \"a=b\"\n\"sasl.username\" = \"key\"\n",
        );
        assert_eq!(cli.interface, ["wlan1", "wlan2"]);
        assert!(cli.set_monitor && !cli.ring_all);
        assert_eq!(cli.spool, Some(Some(PathBuf::from("/var/lib/probegram"))));
        assert_eq!(cli.spool_days, 3);
        assert_eq!(cli.properties, ["sasl.password=a=b", "sasl.username=key"].map(Property::from));
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
            ("bootstrap-servers = \"hunter2\\u0000\"", "bootstrap-servers: expected a text without"),
            ("[kafka]\nsasl.password = \"hunter2\\u0000\"", "kafka.sasl.password: expected a text without"),
            ("[kafka]\n\"sasl\\u0000\" = \"hunter2\"", "kafka.sasl\\0: expected a text without"),
        ] {
            let error = arguments(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
