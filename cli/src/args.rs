//! What the command line takes. Nothing is decided here.

mod admin;
mod policy;
mod quota;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use admin::{
    AlgorithmArg, ApiKeyArgs, ApiKeyVerb, KeyArgs, KeyVerb, MakeKeyArgs, RevokeArgs, RoleArg,
    ScopeArgs, TenantArgs, TenantVerb,
};
pub(crate) use policy::{DiffArgs, ExplainArgs, PolicyArgs, PolicyFileArgs};
pub(crate) use quota::{HolderArgs, LimitArgs, QuotaArgs, QuotaVerb};

/// Gives every AI-agent conversation its own isolated sandbox, and one gate as the only way in and out.
#[derive(Debug, Parser)]
#[command(name = "sandgate", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Where this mesh keeps its state [default: $XDG_DATA_HOME/sandgate or ~/.local/share/sandgate]
    #[arg(long, global = true, env = "SANDGATE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the arguments of this process; ends it for help, for the version, and for what is wrong with them.
    pub(crate) fn read() -> Self {
        let command = without_values(Self::command());
        let read = command.clone().try_get_matches();
        match read.and_then(|matches| Self::from_arg_matches(&matches)) {
            Ok(cli) => cli,
            Err(error) if error.kind() == ErrorKind::MissingSubcommand => {
                // A variable is an argument to clap, so that it shows no help; to a person it is none.
                let bare = command.mut_args(|arg| arg.env(Resettable::Reset));
                let nothing = bare.try_get_matches_from(["sandgate"]);
                nothing.err().unwrap_or(error).exit()
            }
            Err(error) => error.exit(),
        }
    }
}

/// Help names variables and shows no value: a URL may have a password.
fn without_values(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(without_values)
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a conversation's sandbox, and keep its files
    Run(RunArgs),
    /// Keep the mesh running on this machine for clients
    Up(MeshArgs),
    /// Create the data directory, keys and databases, and nothing else
    Init(InitArgs),
    /// Print a new secret, fit to be a master key
    GenSecret,
    /// List the sandboxes
    Ls(LsArgs),
    /// Suspend a conversation's sandbox: sync its files, stop its processes
    Suspend(ConversationArgs),
    /// Delete a conversation's sandbox; its files stay in storage
    Rm(ConversationArgs),
    /// List, or print, the stored files of a conversation; needs no running sandbox
    Files(FilesArgs),
    /// Set, show or list how much a tenant and its users may use at once
    Quota(QuotaArgs),
    /// Create, change or list tenants
    Tenant(TenantArgs),
    /// Make, list, rotate or revoke API keys
    ApiKey(ApiKeyArgs),
    /// List, rotate or retire the keys that sign session tokens
    Key(KeyArgs),
    /// Revoke sessions at once and for ever: of a sandbox, a conversation, a user or a whole tenant
    Revoke(RevokeArgs),
    /// Check a policy file, or explain what it makes of a request; needs no mesh
    #[command(subcommand)]
    Policy(PolicyArgs),
    /// Run one service by itself (see `sandgate orchestrator --help`)
    #[command(disable_help_flag = true)]
    Orchestrator(ServiceArgs),
    /// Run one service by itself (see `sandgate token --help`)
    #[command(disable_help_flag = true)]
    Token(ServiceArgs),
    /// Run one service by itself (see `sandgate auth-gateway --help`)
    #[command(disable_help_flag = true)]
    AuthGateway(ServiceArgs),
    /// Run one service by itself (see `sandgate storage-sync --help`)
    #[command(disable_help_flag = true)]
    StorageSync(ServiceArgs),
    /// The daemon of a sandbox; started by the mesh
    #[command(hide = true, disable_help_flag = true)]
    Sandboxd(ServiceArgs),
}

impl Command {
    /// Whether it only asks about what a mesh has, so that one that was never set up has no answer.
    pub(crate) fn asks(&self) -> bool {
        matches!(
            self,
            Self::Ls(_)
                | Self::Suspend(_)
                | Self::Rm(_)
                | Self::Files(_)
                | Self::Quota(_)
                | Self::Tenant(_)
                | Self::ApiKey(_)
                | Self::Key(_)
                | Self::Revoke(_)
        )
    }
}

/// How the mesh of this machine is set up.
#[derive(Debug, Args, Clone)]
pub(crate) struct MeshArgs {
    /// Where clients connect
    #[arg(
        long,
        env = "SANDGATE_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:7070"
    )]
    pub(crate) listen: String,
    /// The gate's policy: which upstreams sandboxes may call [default: none]
    #[arg(long, env = "SANDGATE_POLICY", value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// CA certificates of https:// upstreams, in PEM [default: none, so the policy can have no such route]
    #[arg(long, env = "SANDGATE_UPSTREAM_ROOTS", value_name = "FILE")]
    pub(crate) upstream_roots: Option<PathBuf>,
    /// The templates that sandboxes are made of [default: one, named `default`]
    #[arg(long, env = "SANDGATE_TEMPLATES", value_name = "FILE")]
    pub(crate) templates: Option<PathBuf>,
    /// A Postgres to keep rows in [default: SQLite files in the data directory]
    #[arg(long, env = "SANDGATE_DATABASE_URL", value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// The role that migrates and owns the tables, where --database-url names one that may not
    #[arg(long, env = "SANDGATE_DATABASE_OWNER_URL", value_name = "URL")]
    pub(crate) database_owner_url: Option<String>,
    /// Where to send traces and metrics, as OTLP over gRPC [default: nowhere]
    #[arg(long, env = "SANDGATE_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// What is logged, such as info or warn,sandgate_token=debug
    #[arg(long, env = "SANDGATE_LOG", value_name = "FILTER", default_value = LOG)]
    pub(crate) log: String,
}

/// A person at a terminal wants to hear of what goes wrong.
const LOG: &str = "error";

impl MeshArgs {
    /// The mesh of one `run`, which listens for nobody else.
    pub(crate) fn of_run(args: &RunMeshArgs) -> Self {
        let RunMeshArgs {
            policy,
            upstream_roots,
            templates,
            database_url,
            database_owner_url,
        } = args.clone();
        Self {
            listen: String::new(),
            policy,
            upstream_roots,
            templates,
            database_url,
            database_owner_url,
            otlp_endpoint: None,
            log: LOG.to_owned(),
        }
    }
}

/// What to initialise.
#[derive(Debug, Args, Clone)]
pub(crate) struct InitArgs {
    /// Also make certificates for services that run as processes of their own, in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) certificates: Option<PathBuf>,
    /// A Postgres to keep rows in [default: SQLite files in the data directory]
    #[arg(long, env = "SANDGATE_DATABASE_URL", value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// The role that migrates and owns the tables, where --database-url names one that may not
    #[arg(long, env = "SANDGATE_DATABASE_OWNER_URL", value_name = "URL")]
    pub(crate) database_owner_url: Option<String>,
}

/// What to run where.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The conversation; the same one finds the same files
    #[arg(long, short, value_name = "NAME")]
    pub(crate) conversation: String,
    /// The template of a sandbox that this makes
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) template: String,
    /// An environment variable of the command, NAME=VALUE; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// The working directory of the command
    #[arg(long, value_name = "DIR", default_value = "/workspace")]
    pub(crate) cwd: String,
    /// Kill the command after this long, like 30s or 5m
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    /// Give the command a terminal
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Say nothing but what the command says
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
    /// The mesh, where none is running.
    #[command(flatten)]
    pub(crate) mesh: RunMeshArgs,
}

/// The mesh that a command starts for itself where none is running.
#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "Of the mesh, where none is running yet")]
pub(crate) struct RunMeshArgs {
    /// The gate's policy: which upstreams sandboxes may call [default: none]
    #[arg(long, env = "SANDGATE_POLICY", value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// CA certificates of https:// upstreams, in PEM [default: none, so the policy can have no such route]
    #[arg(long, env = "SANDGATE_UPSTREAM_ROOTS", value_name = "FILE")]
    pub(crate) upstream_roots: Option<PathBuf>,
    /// The templates that sandboxes are made of [default: one, named `default`]
    #[arg(long, env = "SANDGATE_TEMPLATES", value_name = "FILE")]
    pub(crate) templates: Option<PathBuf>,
    /// A Postgres to keep rows in [default: SQLite files in the data directory]
    #[arg(long, env = "SANDGATE_DATABASE_URL", value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// The role that migrates and owns the tables, where --database-url names one that may not
    #[arg(long, env = "SANDGATE_DATABASE_OWNER_URL", value_name = "URL")]
    pub(crate) database_owner_url: Option<String>,
}

/// Nothing but where to look.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The mesh, where none is running.
    #[command(flatten)]
    pub(crate) mesh: RunMeshArgs,
}

/// Which conversation.
#[derive(Debug, Args)]
pub(crate) struct ConversationArgs {
    /// The conversation
    pub(crate) conversation: String,
    /// The mesh, where none is running.
    #[command(flatten)]
    pub(crate) mesh: RunMeshArgs,
}

/// Which files.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// The conversation
    pub(crate) conversation: String,
    /// A file to print, by its path below /workspace; without it all are listed
    pub(crate) path: Option<OsString>,
    /// The mesh, where none is running.
    #[command(flatten)]
    pub(crate) mesh: RunMeshArgs,
}

/// The arguments of a service, which parses them itself.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// What the service takes.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}
