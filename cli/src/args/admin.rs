//! What `sandgate tenant`, `api-key`, `key` and `revoke` take.

use clap::{Args, Subcommand, ValueEnum};

use super::RunMeshArgs;

/// What to do about tenants.
#[derive(Debug, Args)]
pub(crate) struct TenantArgs {
    /// Create, change or list.
    #[command(subcommand)]
    pub(crate) verb: TenantVerb,
    /// The mesh, where none is running.
    #[command(flatten)]
    pub(crate) mesh: RunMeshArgs,
}

/// What to do about a tenant.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantVerb {
    /// Create a tenant, who is isolated from every other
    Create {
        /// Its name
        name: String,
        /// An operation that its sandboxes may be granted; may be repeated [default: all]
        #[arg(
            long = "grant",
            value_name = "OPERATION",
            default_value = "*",
            hide_default_value = true
        )]
        grants: Vec<String>,
    },
    /// Set which operations its sandboxes may be granted, in the place of those before; "*" is all
    Grant {
        /// Its name
        name: String,
        /// The operations; none takes all away
        operations: Vec<String>,
    },
    /// List all tenants
    List,
}

/// What to do about API keys.
#[derive(Debug, Args)]
pub(crate) struct ApiKeyArgs {
    /// Make, list, rotate or revoke.
    #[command(subcommand)]
    pub(crate) verb: ApiKeyVerb,
    /// The mesh, where none is running.
    #[command(flatten)]
    pub(crate) mesh: RunMeshArgs,
}

/// What to do about an API key.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyVerb {
    /// Make a key and print it, this once
    Create(MakeKeyArgs),
    /// List the keys of a tenant, newest first, without their secrets
    List {
        /// The tenant
        #[arg(long, value_name = "NAME", default_value = "default")]
        tenant: String,
    },
    /// Make a key that follows another, and print it, this once
    Rotate {
        /// The id of the key before
        id: String,
        /// How long the key before is still good, like 24h; at most 7d [default: it dies at once]
        #[arg(
            long,
            value_name = "DURATION",
            default_value = "0s",
            hide_default_value = true
        )]
        overlap: String,
    },
    /// Revoke a key at once, everywhere and for ever
    Revoke {
        /// Its id
        id: String,
    },
}

/// A key to make.
#[derive(Debug, Args)]
pub(crate) struct MakeKeyArgs {
    /// The tenant
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) tenant: String,
    /// The user that it stands for [default: none, it is a program's]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) user: String,
    /// It may name users of its tenant in its requests, as a program that serves many does
    #[arg(long, conflicts_with = "user")]
    pub(crate) names_users: bool,
    /// What it may do; may be repeated
    #[arg(
        long = "role",
        value_name = "ROLE",
        value_enum,
        default_value = "caller"
    )]
    pub(crate) roles: Vec<RoleArg>,
    /// What people call it
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) description: String,
    /// How long it is good, like 90d [default: until it is revoked]
    #[arg(long, value_name = "DURATION")]
    pub(crate) lifetime: Option<String>,
}

/// A role that a key can have.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleArg {
    /// Uses sandboxes of its tenant
    Caller,
    /// Administers its tenant: keys, quotas, revocations, records
    Operator,
    /// Administers the mesh: every tenant
    Admin,
}

/// What to do about signing keys.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// List, rotate or retire.
    #[command(subcommand)]
    pub(crate) verb: KeyVerb,
    /// The mesh, where none is running.
    #[command(flatten)]
    pub(crate) mesh: RunMeshArgs,
}

/// What to do about a signing key.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// List the keys, oldest first
    List,
    /// Publish the next key ahead of its time; it signs 15 minutes later
    Rotate {
        /// What it signs by [default: as the newest key]
        #[arg(long, value_name = "ALGORITHM", value_enum)]
        algorithm: Option<AlgorithmArg>,
    },
    /// Take a key that is no longer trusted out of the list, with every token that it signed
    Retire {
        /// Its id
        // It is of base64url, so one in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
}

/// What a key signs by.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AlgorithmArg {
    /// Ed25519
    Eddsa,
    /// ECDSA on P-256 with SHA-256
    Es256,
}

/// What to revoke.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The tenant
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) tenant: String,
    /// What of it.
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", default_value = "by the command line")]
    pub(crate) reason: String,
    /// The mesh, where none is running.
    #[command(flatten)]
    pub(crate) mesh: RunMeshArgs,
}

/// What of a tenant.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ScopeArgs {
    /// One token, by its jti
    #[arg(long, value_name = "ID")]
    pub(crate) token: Option<String>,
    /// One instance of a sandbox
    #[arg(long, value_name = "ID")]
    pub(crate) instance: Option<String>,
    /// Every instance of a sandbox, also those to come
    #[arg(long, value_name = "ID")]
    pub(crate) sandbox: Option<String>,
    /// Every session of a conversation, also those to come
    #[arg(long, value_name = "NAME")]
    pub(crate) conversation: Option<String>,
    /// Every session of a user, also those to come
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Every session of the tenant that began before an instant: now, or like 2026-11-25T12:00:00Z
    #[arg(long, value_name = "INSTANT")]
    pub(crate) before: Option<String>,
    /// Every session of the tenant, also those to come
    #[arg(long)]
    pub(crate) whole_tenant: bool,
}
