//! A create, field by field; all that is wrong is told at once.

use sandgate_api::orchestrator::v1 as pb;
use sandgate_rpc::Fault;
use sandgate_types::{ConversationId, TemplateName, UserId, Violations};

use crate::caller::Scope;
use crate::create::CreateRequest;
use crate::environment::Environment;
use crate::grpc::wire;
use crate::template::DEFAULT;

pub(super) fn create_request(
    scope: &Scope,
    request: pb::CreateSandboxRequest,
) -> Result<CreateRequest, Fault> {
    let pb::CreateSandboxRequest {
        conversation,
        user,
        template,
        ttl,
        idle_timeout,
        labels,
        environment,
        operations,
        wait,
        request_id,
    } = request;
    let mut violations = Violations::new();
    let conversation = violations.check(ConversationId::parse("conversation", &conversation));
    let named = match user.as_str() {
        "" => None,
        text => violations.check(UserId::parse("user", text)),
    };
    let template = if template.is_empty() {
        DEFAULT
    } else {
        &template
    };
    let template = violations.check(TemplateName::parse("template", template));
    let ttl = violations.check(wire::ttl_from(ttl)).flatten();
    let idle_timeout = violations.check(wire::idle_from(idle_timeout)).flatten();
    let labels = match wire::labels_from(labels) {
        Ok(labels) => Some(labels),
        Err(wrong) => {
            wrong.iter().cloned().for_each(|one| violations.push(one));
            None
        }
    };
    let environment = violations
        .check(wire::environment_from(environment))
        .map(Environment::new);
    let operations = violations
        .check(wire::operations_from(operations))
        .flatten();
    let wait = violations.check(wire::wait_from(wait));
    let request = violations.check(wire::request_from(&request_id)).flatten();
    let (Some(conversation), Some(template), Some(labels), Some(environment), Some(wait)) =
        (conversation, template, labels, environment, wait)
    else {
        return Err(violations.into());
    };
    violations.or(())?;
    Ok(CreateRequest {
        tenant: scope.tenant.clone(),
        user: scope.user_of_create(named)?,
        conversation,
        template,
        ttl,
        idle_timeout,
        labels,
        environment,
        operations,
        wait,
        request,
    })
}
