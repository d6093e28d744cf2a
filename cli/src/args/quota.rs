//! What `sandgate quota` takes.

use clap::{Args, Subcommand};

use super::RunMeshArgs;

/// What to do about quotas.
#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    /// Set, show or list.
    #[command(subcommand)]
    pub(crate) verb: QuotaVerb,
    /// The mesh, where none is running.
    #[command(flatten)]
    pub(crate) mesh: RunMeshArgs,
}

/// What to do about a quota.
#[derive(Debug, Subcommand)]
pub(crate) enum QuotaVerb {
    /// Show the quota of a tenant or a user, and what is used of it
    Get {
        /// Whose.
        #[command(flatten)]
        holder: HolderArgs,
    },
    /// Set a quota in the place of the one before; what is left out is not limited, and without any limit it is removed
    Set {
        /// Whose.
        #[command(flatten)]
        holder: HolderArgs,
        /// The limits.
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// List all quotas
    List,
}

/// Whose quota.
#[derive(Debug, Args)]
pub(crate) struct HolderArgs {
    /// The tenant
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) tenant: String,
    /// A user of the tenant, or '*' for each who has no quota of their own [default: the tenant as a whole]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) user: String,
}

/// How much.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Sandboxes that run, or are about to
    #[arg(long, value_name = "N")]
    pub(crate) live: Option<i32>,
    /// Suspended sandboxes
    #[arg(long, value_name = "N")]
    pub(crate) suspended: Option<i32>,
    /// Memory of running sandboxes by the limits of their templates, like 16GiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Creates and resumes in a second
    #[arg(long, value_name = "N")]
    pub(crate) starts_per_second: Option<i32>,
}
