//! AttachService: only the orchestrator reaches it.

use std::collections::BTreeSet;
use std::time::Duration;

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::attach_service_server::AttachService;
use sandgate_types::{Generation, Malformed, RouteName, SandboxId, SessionId, Violations};
use sandgate_workspace::ChunkingSeed;
use tonic::Request;

use super::{Reply, Services};
use crate::keeper::environment::Environment;
use crate::keeper::error::status;
use crate::keeper::grpc::process::parse::parse_argv;
use crate::keeper::identity::{Token, Tokens};
use crate::keeper::instance::Attachment;

/// The published limit of a drain's grace.
const GRACE_MAX: Duration = Duration::from_secs(60);
/// A policy has at most as many; each becomes a variable.
const ROUTES_MAX: usize = 1024;

#[tonic::async_trait]
impl AttachService for Services {
    async fn attach(&self, request: Request<pb::AttachRequest>) -> Reply<pb::AttachResponse> {
        let attachment = parse(request.into_inner()).map_err(status)?;
        self.instance.attach(attachment).map_err(status)?;
        Ok(pb::AttachResponse {}.into())
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Reply<pb::DrainResponse> {
        let pb::DrainRequest { grace } = request.into_inner();
        let grace = grace
            .map_or(Ok(Duration::ZERO), |grace| {
                sandgate_api::duration_from("grace", &grace)
            })
            .map_err(status)?;
        if grace > GRACE_MAX {
            return Err(status(Malformed::new("grace", "must be at most 60 s")));
        }
        let command_exit_code = self.instance.drain(grace).await.map_err(status)?;
        Ok(pb::DrainResponse { command_exit_code }.into())
    }
}

fn parse(request: pb::AttachRequest) -> Result<Attachment, Violations> {
    let pb::AttachRequest {
        ticket,
        session_id,
        sandbox_id,
        generation,
        agent_token,
        daemon_token,
        tokens_expire_at,
        environment,
        workspace_version,
        chunking_seed,
        command,
        ports,
        routes,
    } = request;
    let mut violations = Violations::new();
    let session = violations.check(SessionId::parse("session_id", &session_id));
    let sandbox = violations.check(SandboxId::parse("sandbox_id", &sandbox_id));
    let generation = violations.check(Generation::parse("generation", generation));
    let agent = violations.check(token("agent_token", agent_token));
    let daemon = violations.check(token("daemon_token", daemon_token));
    let expires_at =
        tokens_expire_at.ok_or_else(|| Malformed::new("tokens_expire_at", "must be set"));
    let expires_at = violations
        .check(expires_at.and_then(|at| sandgate_api::timestamp_from("tokens_expire_at", &at)));
    let environment = violations.check(Environment::parse("environment", environment));
    let chunking_seed = violations.check(ChunkingSeed::parse("chunking_seed", &chunking_seed));
    let command = if command.is_empty() {
        Some(command)
    } else {
        violations.check(parse_argv("command", command))
    };
    let ports = violations.check(parse_ports(ports));
    let routes = violations.check(parse_routes(&routes));
    match (
        session,
        sandbox,
        generation,
        agent,
        daemon,
        expires_at,
        environment,
        chunking_seed,
        command,
        ports,
        routes,
    ) {
        (
            Some(session),
            Some(sandbox),
            Some(generation),
            Some(agent),
            Some(daemon),
            Some(expires_at),
            Some(environment),
            Some(chunking_seed),
            Some(command),
            Some(ports),
            Some(routes),
        ) => Ok(Attachment {
            ticket,
            session,
            sandbox,
            generation,
            tokens: Tokens {
                agent,
                daemon,
                expires_at,
            },
            environment,
            workspace_version,
            chunking_seed,
            command,
            ports,
            routes,
        }),
        _ => Err(violations),
    }
}

fn token(field: &str, jwt: String) -> Result<Token, Malformed> {
    let printable = Malformed::new(field, "must be a compact JWT");
    if jwt.is_empty() {
        Err(printable)
    } else {
        Token::new(jwt).map_err(|_| printable)
    }
}

fn parse_ports(ports: Vec<u32>) -> Result<BTreeSet<u16>, Malformed> {
    let rule = || Malformed::new("ports", "must be 1 to 65535");
    let ports = ports.into_iter().map(|port| {
        u16::try_from(port)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(rule)
    });
    ports.collect()
}

fn parse_routes(routes: &[String]) -> Result<Vec<RouteName>, Malformed> {
    if routes.len() > ROUTES_MAX {
        return Err(Malformed::new(
            "routes",
            format!("must be at most {ROUTES_MAX}"),
        ));
    }
    routes
        .iter()
        .map(|route| RouteName::parse("routes", route))
        .collect()
}
