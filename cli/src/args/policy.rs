//! What `sandgate policy` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to ask of a policy file.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyArgs {
    /// Check whether a gate would take the file, and name every problem with its line
    Check(PolicyFileArgs),
    /// Tell what changes from one policy to another, and whether sandboxes may do more or less for it
    Diff(DiffArgs),
    /// Tell what the policy makes of a request: the route and what goes to its upstream, or which part refuses
    Explain(ExplainArgs),
}

/// Which policy.
#[derive(Debug, Args)]
pub(crate) struct PolicyFileArgs {
    /// The policy
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// CA certificates of https:// upstreams, in PEM [default: none, so the policy can have no such route]
    #[arg(long, env = "SANDGATE_UPSTREAM_ROOTS", value_name = "FILE")]
    pub(crate) upstream_roots: Option<PathBuf>,
}

/// Which two policies.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The policy before
    #[arg(value_name = "OLD")]
    pub(crate) old: PathBuf,
    /// The policy after
    #[command(flatten)]
    pub(crate) new: PolicyFileArgs,
}

/// Which request, of which session.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The policy.
    #[command(flatten)]
    pub(crate) file: PolicyFileArgs,
    /// What is asked for on 127.0.0.1:4040: /r/ROUTE/PATH, or a gRPC method like /package.Service/Method
    #[arg(value_name = "PATH")]
    pub(crate) path: String,
    /// The method
    #[arg(long, short = 'X', value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
    /// A header, 'NAME: VALUE'; may be repeated, and 'content-type: application/grpc' makes a gRPC call
    #[arg(long, short = 'H', value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// Ask for a WebSocket
    #[arg(long)]
    pub(crate) websocket: bool,
    /// The session's tenant
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) tenant: String,
    /// The session's user
    #[arg(long, value_name = "NAME", default_value = "user")]
    pub(crate) user: String,
    /// The session's conversation
    #[arg(long, value_name = "NAME", default_value = "conversation")]
    pub(crate) conversation: String,
    /// An operation that the session's token carries; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) operation: Vec<String>,
}
