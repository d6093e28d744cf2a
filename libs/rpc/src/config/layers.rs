//! Reads each layer by itself, so that a problem is told where its author can mend it, and lays one over
//! the other.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command, Parser};
use sandgate_telemetry::LogFormat;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::{Mapping, Value};

use super::command::{COMMON, Common, LOG_FILTER, command, defaults, prefix};
use super::{Env, Loaded, Problems, Stop, Telemetry, redact};

/// A file of settings is a page or two; a larger one is another file.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// A process's commands, variables and layers.
struct Loader {
    prefix: String,
    command: Command,
    problems: Problems,
}

pub(super) fn load<A>(
    process: &'static str,
    arguments: Vec<OsString>,
    env: &dyn Env,
) -> Result<Loaded<A>, Stop>
where
    A: Parser + Serialize + DeserializeOwned + Default,
{
    let prefix = prefix(process);
    let command = command::<A>(process, &prefix);
    let mut loader = Loader {
        prefix,
        command,
        problems: Problems::default(),
    };

    let flags = loader.flags(arguments.clone())?;
    // Beside a wrong flag the file is read all the same, for its own problems.
    let legible = flags.clone().or_else(|| {
        loader
            .bare()
            .ignore_errors(true)
            .try_get_matches_from(arguments)
            .ok()
    });
    let file_flag = legible.and_then(|flags| flags.get_one::<PathBuf>("config").cloned());
    let print = flags
        .as_ref()
        .is_some_and(|flags| flags.get_flag("print_config"));
    let flags = loader.values::<A>(flags.as_ref());
    let (variables, file_variable) = loader.environment::<A>(env);
    let file = file_flag
        .or(file_variable)
        .map(|path| loader.file::<A>(&path))
        .unwrap_or_default();

    let mut merged = defaults::<A>();
    for over in [file, variables, flags] {
        merged.extend(over);
    }
    if !loader.problems.is_empty() {
        return Err(Stop::Refused(loader.problems));
    }
    if print {
        let text = serde_yaml_ng::to_string(&redact::mapping(merged));
        return Err(text.map_or_else(
            |error| loader.refused("--print-config", error.to_string()),
            Stop::Answered,
        ));
    }
    let (common, own): (Mapping, Mapping) = merged.into_iter().partition(|(key, _)| is_common(key));
    match (
        serde_yaml_ng::from_value(Value::Mapping(own)),
        serde_yaml_ng::from_value(Value::Mapping(common)),
    ) {
        (Ok(args), Ok(common)) => Ok(Loaded {
            args,
            telemetry: telemetry(process, common),
        }),
        (Err(error), _) | (_, Err(error)) => Err(loader.refused("settings", error.to_string())),
    }
}

fn telemetry(service: &'static str, common: Common) -> Telemetry {
    let format = if common.log_format.as_deref() == Some("json") {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    let filter = common.log_filter.unwrap_or_else(|| LOG_FILTER.to_owned());
    Telemetry {
        service,
        format,
        filter,
        otlp: common.otlp_endpoint,
    }
}

impl Loader {
    fn refused(&mut self, place: &str, rule: String) -> Stop {
        self.problems.push(place, rule);
        Stop::Refused(std::mem::take(&mut self.problems))
    }

    /// The command with no variable attached: clap would read the process's environment by itself, and
    /// could not tell it from flags.
    fn bare(&self) -> Command {
        self.command
            .clone()
            .mut_args(|arg| arg.env(Resettable::Reset))
    }

    /// The flags; none when they are wrong, which is a problem among others.
    fn flags(&mut self, arguments: Vec<OsString>) -> Result<Option<ArgMatches>, Stop> {
        match self.bare().try_get_matches_from(arguments.clone()) {
            Ok(matches) => Ok(Some(matches)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                ) =>
            {
                // Asked again with the variables attached: help names them.
                let help = self
                    .command
                    .clone()
                    .try_get_matches_from(arguments)
                    .err()
                    .unwrap_or(error);
                Err(Stop::Answered(help.to_string()))
            }
            Err(error) => {
                let place = match error.get(ContextKind::InvalidArg) {
                    Some(ContextValue::String(flag)) => flag.clone(),
                    Some(_) | None => "flags".to_owned(),
                };
                self.problems.push(place, rule(&error));
                Ok(None)
            }
        }
    }

    /// What the flags set, as a layer.
    fn values<A: Parser + Serialize>(&mut self, matches: Option<&ArgMatches>) -> Mapping {
        let mut values = Mapping::new();
        let Some(matches) = matches else {
            return values;
        };
        match (
            A::from_arg_matches(matches),
            <Common as clap::FromArgMatches>::from_arg_matches(matches),
        ) {
            (Ok(own), Ok(common)) => {
                values.extend(layer(&own));
                values.extend(layer(&common));
            }
            (Err(error), _) | (_, Err(error)) => self.problems.push("flags", rule(&error)),
        }
        values
    }

    /// What the environment sets, variable by variable, and the file that it names.
    fn environment<A: Parser + Serialize>(&mut self, env: &dyn Env) -> (Mapping, Option<PathBuf>) {
        let (mut values, mut file) = (Mapping::new(), None);
        let known: Vec<(String, String)> = self
            .command
            .get_arguments()
            .filter_map(|arg| {
                Some((
                    arg.get_env()?.to_str()?.to_owned(),
                    arg.get_long()?.to_owned(),
                ))
            })
            .collect();
        for (name, value) in env.variables() {
            let Some((_, flag)) = known.iter().find(|(variable, _)| *variable == name) else {
                if name.starts_with(&self.prefix) {
                    let names: BTreeSet<&str> = known
                        .iter()
                        .map(|(variable, _)| variable.as_str())
                        .collect();
                    let list = names.into_iter().collect::<Vec<_>>().join(", ");
                    self.problems.push(
                        name,
                        format!("is no variable of this process, which has {list}"),
                    );
                }
                continue;
            };
            let mut argument = OsString::from(format!("--{flag}="));
            argument.push(value);
            match self.bare().try_get_matches_from([argument]) {
                Ok(matches) => {
                    file = matches.get_one::<PathBuf>("config").cloned().or(file);
                    values.extend(self.values::<A>(Some(&matches)));
                }
                Err(error) => self.problems.push(name, rule(&error)),
            }
        }
        (values, file)
    }

    /// What the file sets, key by key.
    fn file<A: DeserializeOwned>(&mut self, path: &Path) -> Mapping {
        let name = path.display().to_string();
        let text = match read(path) {
            Ok(text) => text,
            Err(problem) => {
                self.problems.push(name, problem);
                return Mapping::new();
            }
        };
        if text.trim().is_empty() {
            return Mapping::new();
        }
        let keys: Mapping = match serde_yaml_ng::from_str(&text) {
            Ok(keys) => keys,
            Err(error) => {
                self.problems
                    .push(name, format!("must be a YAML mapping of settings: {error}"));
                return Mapping::new();
            }
        };
        for (key, value) in &keys {
            let place = format!(
                "{name}: {}",
                key.as_str().unwrap_or("a key that is no text")
            );
            let one = Value::Mapping(Mapping::from_iter([(key.clone(), value.clone())]));
            let read = if is_common(key) {
                common(key, one)
            } else {
                serde_yaml_ng::from_value::<A>(one)
                    .map(drop)
                    .map_err(|error| error.to_string())
            };
            if value.is_null() {
                self.problems.push(place, "must have a value");
            } else if let Err(problem) = read {
                self.problems.push(place, problem);
            }
        }
        keys
    }
}

fn is_common(key: &Value) -> bool {
    key.as_str().is_some_and(|key| COMMON.contains(&key))
}

/// Checks a common key of the file; the flag's list of values holds there too.
fn common(key: &Value, one: Value) -> Result<(), String> {
    let read: Common = serde_yaml_ng::from_value(one).map_err(|error| error.to_string())?;
    match (key.as_str(), read.log_format.as_deref()) {
        (Some("log_format"), Some("text" | "json")) => Ok(()),
        (Some("log_format"), None | Some(_)) => Err("must be text or json".to_owned()),
        (None | Some(_), None | Some(_)) => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("must be a file that can be read: {error}");
    let mut text = String::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(cannot)?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(format!("must be at most {FILE_MAX_BYTES} bytes"));
    }
    Ok(text)
}

/// What is set in a value whose fields are options.
pub(super) fn layer(args: &impl Serialize) -> Mapping {
    match serde_yaml_ng::to_value(args) {
        Ok(Value::Mapping(fields)) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
        // Args are structs; anything else sets nothing.
        Ok(_) | Err(_) => Mapping::new(),
    }
}

/// Clap's message, without the name of the flag and the value, which may be anything.
fn rule(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    if let Some(ContextValue::Strings(allowed)) = error.get(ContextKind::ValidValue) {
        return format!("must be one of {}", allowed.join(", "));
    }
    if error.kind() == ErrorKind::UnknownArgument {
        let similar = match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(flag)) => format!(", did you mean {flag}?"),
            Some(_) | None => String::new(),
        };
        return format!("is no flag of this process{similar}");
    }
    error.kind().as_str().unwrap_or("is wrong").to_owned()
}
