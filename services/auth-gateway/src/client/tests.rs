//! Who may call what on the client listener, without a socket.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_types::{ApiKeyId, TenantId};

use super::*;

fn holder(roles: &[Role]) -> Holder {
    Holder {
        key: ApiKeyId::random(&mut StdRng::seed_from_u64(1)),
        tenant: TenantId::parse("tenant", "acme").expect("valid"),
        user: None,
        may_name_users: false,
        expires_at: None,
        roles: roles.to_vec(),
    }
}

#[test]
fn attach_and_every_daemons_and_services_method_is_not_on_this_listener() {
    let all = holder(&[Role::Caller, Role::Operator, Role::Admin, Role::Daemon]);
    for path in [
        "/sandgate.sandbox.v1.AttachService/Attach",
        "/sandgate.sandbox.v1.AttachService/Drain",
        "/sandgate.token.v1.TokenService/RenewSession",
        "/sandgate.token.v1.TokenService/MintSession",
        "/sandgate.orchestrator.v1.EndpointService/WatchEndpoints",
        "/sandgate.audit.v1.AuditService/AppendRecords",
        "/nothing",
    ] {
        assert_eq!(authorize(path, &all), Err(Refusal::MethodUnknown), "{path}");
    }
}

#[test]
fn each_method_of_this_listener_goes_by_roles_and_has_somewhere_to_go() {
    for method in sandgate_api::METHODS {
        for role in [Role::Caller, Role::Operator, Role::Admin] {
            let allowed = authorize(method.path, &holder(&[role]));
            let access = method.access.as_ref().expect("every method has one");
            assert_eq!(allowed.is_ok(), access.allows_role(role), "{}", method.path);
        }
    }
}

#[test]
fn whatever_is_not_named_as_reading_counts_as_a_change() {
    for (path, reading) in [
        ("/sandgate.orchestrator.v1.SandboxService/GetSandbox", true),
        ("/sandgate.token.v1.ApiKeyService/ListApiKeys", true),
        (
            "/sandgate.orchestrator.v1.SandboxService/CreateSandbox",
            false,
        ),
        ("/sandgate.token.v1.RevocationService/Revoke", false),
        (
            "/sandgate.storage.v1.WorkspaceService/RestoreVersion",
            false,
        ),
    ] {
        assert!(sandgate_api::find(path).is_some(), "{path}");
        assert_eq!(is_reading(path), reading, "{path}");
    }
}

#[test]
fn a_call_names_one_sandbox() {
    let mut headers = HeaderMap::new();
    assert_eq!(sandbox_of(&headers), Err(Refusal::SandboxUnnamed));
    let id = SandboxId::random(&mut StdRng::seed_from_u64(1));
    headers.append(SANDBOX, id.as_str().parse().expect("a header"));
    assert_eq!(sandbox_of(&headers), Ok(id.clone()));
    headers.append(SANDBOX, id.as_str().parse().expect("a header"));
    assert_eq!(sandbox_of(&headers), Err(Refusal::SandboxUnnamed));
}
