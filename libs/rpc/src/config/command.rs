//! The flags of a process: its own, those that every process has, and what their help says.

use std::path::PathBuf;

use clap::{ArgAction, Command, Parser};
use serde::Serialize;
use serde_yaml_ng::{Mapping, Value};

use super::layers::layer;

/// Changes are worth a line each, requests are not.
pub(super) const LOG_FILTER: &str = "info";

// What [`super::load`] adds to every process. No doc comment: clap would print it above the help of each.
#[derive(Debug, clap::Args, Serialize, serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Common {
    /// How logs look
    #[arg(long, value_parser = ["text", "json"])]
    pub(super) log_format: Option<String>,
    /// What is logged, such as info or warn,sandgate_token=debug
    #[arg(long)]
    pub(super) log_filter: Option<String>,
    /// A collector that takes OTLP over gRPC, such as http://127.0.0.1:4317
    #[arg(long)]
    pub(super) otlp_endpoint: Option<String>,
}

/// The keys of [`Common`].
pub(super) const COMMON: [&str; 3] = ["log_format", "log_filter", "otlp_endpoint"];

/// What holds where nothing is set.
pub(super) fn defaults<A: Default + Serialize>() -> Mapping {
    let common = Common {
        log_format: Some("text".into()),
        log_filter: Some(LOG_FILTER.into()),
        ..Common::default()
    };
    let mut defaults = layer(&A::default());
    defaults.extend(layer(&common));
    defaults
}

/// How the names of a process's variables begin.
pub(super) fn prefix(process: &str) -> String {
    let name = process.strip_prefix("sandgate-").unwrap_or(process);
    format!("SANDGATE_{}_", name.to_uppercase().replace('-', "_"))
}

/// All flags of a process, with their variables.
pub(super) fn command<A: Parser + Default + Serialize>(
    process: &'static str,
    prefix: &str,
) -> Command {
    let config = clap::Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("A YAML file of settings; the environment overrides it, flags override both");
    let print = clap::Arg::new("print_config")
        .long("print-config")
        .action(ArgAction::SetTrue)
        .help("Print the settings as they are in effect, without secrets, and exit");
    let command = <Common as clap::Args>::augment_args(A::command())
        .arg(config)
        .arg(print);
    let defaults = defaults::<A>();
    command
        .name(process)
        .bin_name(process)
        // All crates of the workspace have one.
        .version(env!("CARGO_PKG_VERSION"))
        .no_binary_name(true)
        .mut_args(|arg| with_default(arg, &defaults))
        .mut_args(|arg| {
            let shared = COMMON.contains(&arg.get_id().as_str()) || arg.get_id() == "config";
            if !shared {
                return arg.hide_env_values(true);
            }
            // Leaked: four short names, once per process, since clap wants them static.
            let variable: &'static str =
                format!("{prefix}{}", arg.get_id().as_str().to_uppercase()).leak();
            arg.env(variable).hide_env_values(true)
        })
}

/// Says in the help of a flag what holds without it.
fn with_default(arg: clap::Arg, defaults: &Mapping) -> clap::Arg {
    let default = match defaults.get(arg.get_id().as_str()) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(truth)) => truth.to_string(),
        Some(Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_)) | None => {
            return arg;
        }
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help} [default: {default}]"))
}
