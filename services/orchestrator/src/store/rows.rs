//! Between a row of `sandboxes` and a [`Sandbox`].

use std::time::Duration;

use sandgate_db::{Row, Value};
use sandgate_types::{
    ConversationId, Generation, InstanceId, LabelKey, Labels, Malformed, SandboxId, SessionId,
    TemplateName, TenantId, Timestamp, UserId, VersionId,
};

use super::StoreError;
use crate::sandbox::{Ending, Facts, Phase, Reason, Run, Sandbox, State};

fn damaged(rule: impl ToString) -> StoreError {
    StoreError::Damaged {
        table: "sandboxes",
        rule: rule.to_string(),
    }
}

impl From<Malformed> for StoreError {
    fn from(malformed: Malformed) -> Self {
        damaged(malformed)
    }
}

/// Reads a row.
pub(super) fn read(row: &Row, intent: Option<&str>) -> Result<Sandbox, StoreError> {
    let facts = Facts {
        id: SandboxId::parse("sandbox_id", &row.text("sandbox_id")?)?,
        tenant: TenantId::parse("tenant", &row.text("tenant")?)?,
        user: UserId::parse("user_name", &row.text("user_name")?)?,
        conversation: ConversationId::parse("conversation", &row.text("conversation")?)?,
        template: TemplateName::parse("template", &row.text("template")?)?,
        labels: labels(&row.text("labels")?)?,
        created_at: row.get("created_at")?,
        ttl: duration(row, "ttl")?,
        idle_timeout: duration(row, "idle_timeout")?,
        memory: u64::try_from(row.integer("memory")?).map_err(damaged)?,
        operations: row
            .get::<Option<String>>("operations")?
            .map(|text| serde_json::from_str(&text).map_err(damaged))
            .transpose()?,
    };
    let phase = Phase::from_word(&row.text("phase")?).ok_or_else(|| damaged("an unknown phase"))?;
    let reason =
        Reason::from_word(&row.text("reason")?).ok_or_else(|| damaged("an unknown reason"))?;
    let intent = intent
        .map(|word| {
            crate::sandbox::Intent::from_word(word).ok_or_else(|| damaged("an unknown intent"))
        })
        .transpose()?;
    let state = State {
        phase,
        reason,
        message: row.text("message")?,
        generation: Generation::parse("generation", row.integer("generation")?)?,
        run: run(row)?,
        expires_at: row.get("expires_at")?,
        workspace: row
            .get::<Option<String>>("workspace_version")?
            .map(|text| VersionId::parse("workspace_version", &text))
            .transpose()?,
        ending: ending(row)?,
        bounds: serde_json::from_str(&row.text("bounds")?).map_err(damaged)?,
        intent,
        awaits_environment: row.get("awaits_environment")?,
        has_environment: row.get("has_environment")?,
    };
    Ok(Sandbox {
        facts,
        state,
        version: row.integer("version")?,
    })
}

fn duration(row: &Row, column: &'static str) -> Result<Duration, StoreError> {
    let micros = u64::try_from(row.integer(column)?).map_err(damaged)?;
    Ok(Duration::from_micros(micros))
}

fn micros(duration: Duration) -> Result<i64, StoreError> {
    i64::try_from(duration.as_micros()).map_err(damaged)
}

fn run(row: &Row) -> Result<Option<Run>, StoreError> {
    let Some(instance) = row.get::<Option<String>>("instance_id")? else {
        return Ok(None);
    };
    Ok(Some(Run {
        instance: InstanceId::parse("instance_id", &instance)?,
        session: SessionId::parse("session_id", &row.text("session_id")?)?,
        claimed_at: row.get("claimed_at")?,
        cold: row.get("cold")?,
        complete: row.get("complete")?,
        gone: row.get("gone")?,
    }))
}

fn ending(row: &Row) -> Result<Option<Ending>, StoreError> {
    let Some(at) = row.get::<Option<Timestamp>>("ended_at")? else {
        return Ok(None);
    };
    let number = |column: &'static str| -> Result<Option<i32>, StoreError> {
        row.get::<Option<i64>>(column)?
            .map(|number| i32::try_from(number).map_err(damaged))
            .transpose()
    };
    Ok(Some(Ending {
        at,
        exit_code: number("exit_code")?,
        signal: number("signal")?,
        last_output: row
            .get::<Option<Vec<u8>>>("last_output")?
            .unwrap_or_default(),
        not_synced: row.get::<Option<String>>("not_synced")?.unwrap_or_default(),
    }))
}

fn labels(text: &str) -> Result<Labels, StoreError> {
    let pairs: Vec<(String, String)> = serde_json::from_str(text).map_err(damaged)?;
    let mut labels = Labels::new();
    for (key, value) in pairs {
        labels.insert(LabelKey::parse("labels", &key)?, value);
    }
    Ok(labels)
}

/// The values of the facts, in the order of the INSERT.
pub(super) fn facts(facts: &Facts) -> Result<Vec<Value>, StoreError> {
    let labels: Vec<(&str, &str)> = facts
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let operations = facts
        .operations
        .as_ref()
        .map(|names| serde_json::to_string(names).map_err(damaged))
        .transpose()?;
    Ok(vec![
        facts.tenant.as_str().into(),
        facts.user.as_str().into(),
        facts.conversation.as_str().into(),
        facts.template.as_str().into(),
        serde_json::to_string(&labels).map_err(damaged)?.into(),
        facts.created_at.into(),
        micros(facts.ttl)?.into(),
        micros(facts.idle_timeout)?.into(),
        i64::try_from(facts.memory).map_err(damaged)?.into(),
        operations.into(),
    ])
}

/// The values of the state, in the order of INSERT and UPDATE, from `live` on.
pub(super) fn state(state: &State) -> Result<Vec<Value>, StoreError> {
    let run = state.run.as_ref();
    let ending = state.ending.as_ref();
    Ok(vec![
        state.is_live().into(),
        state.phase.as_str().into(),
        state.reason.as_str().into(),
        state.message.as_str().into(),
        state.generation.get().into(),
        run.map(|run| run.instance.as_str()).into(),
        run.map(|run| run.session.as_str()).into(),
        run.map(|run| run.claimed_at).into(),
        run.map(|run| run.cold).into(),
        run.map(|run| run.complete).into(),
        run.map(|run| run.gone).into(),
        state.expires_at.into(),
        state.workspace.as_ref().map(VersionId::as_str).into(),
        ending.map(|ending| ending.at).into(),
        ending.and_then(|ending| ending.exit_code).into(),
        ending.and_then(|ending| ending.signal).into(),
        ending.map(|ending| ending.last_output.clone()).into(),
        ending.map(|ending| ending.not_synced.as_str()).into(),
        serde_json::to_string(&state.bounds)
            .map_err(damaged)?
            .into(),
        state.awaits_environment.into(),
        state.has_environment.into(),
    ])
}
