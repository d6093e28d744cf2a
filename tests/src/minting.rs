//! What the orchestrator sends when a session begins, for benches that stand in for it.

use sandgate_api::token::v1 as pb;

/// The session of the instance with a number, on a template of these operations; requests are of the same length for
/// each number.
pub fn opening(number: usize, operations: [&str; 4]) -> pb::MintSessionRequest {
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs());
    pb::MintSessionRequest {
        session_id: format!("e{number:025}"),
        tenant: "default".to_owned(),
        user: "ann".to_owned(),
        conversation: format!("conversation-{number:08}"),
        sandbox_id: format!("s{number:025}"),
        instance_id: format!("i{number:025}"),
        generation: 1,
        template_operations: operations.map(str::to_owned).to_vec(),
        requested_operations: None,
        policy_revision: 1,
        session_start: Some(prost_types::Timestamp {
            seconds: i64::try_from(now).unwrap_or(i64::MAX),
            nanos: 0,
        }),
        session_max: Some(prost_types::Duration {
            seconds: 24 * 3600,
            nanos: 0,
        }),
    }
}
