//! AuditService.

use sandgate_api::audit::v1 as pb;
use sandgate_api::audit::v1::audit_service_server::AuditService;
use sandgate_api::timestamp_from;
use sandgate_rpc::{Caller, Fault, Peer, page_size, service_name};
use sandgate_types::{Malformed, SandboxId, Timestamp};
use tonic::{Request, Response};

use super::{Reply, Services};
use crate::error;
use crate::records;
use crate::store::{Appended, RecordCursor, RecordFilter};

/// As the proto says.
const BATCH_MAX: usize = 1_000;
/// The longest name of a writer: a service and its start.
const WRITER_MAX_BYTES: usize = 128;

/// As records name it.
const APPEND: &str = "sandgate.audit.v1.AuditService/AppendRecords";

fn records_from(
    records: Vec<pb::Record>,
) -> Result<(String, Vec<(pb::Record, Timestamp)>), Malformed> {
    if records.is_empty() || records.len() > BATCH_MAX {
        let rule = format!("must have 1 to {BATCH_MAX} entries");
        return Err(Malformed::new("records", rule));
    }
    let writer = records
        .first()
        .map(|record| record.writer.clone())
        .unwrap_or_default();
    let mut read = Vec::with_capacity(records.len());
    for (index, record) in records.into_iter().enumerate() {
        let refuse =
            |field: &str, rule: &str| Malformed::new(format!("records[{index}].{field}"), rule);
        if record.writer != writer || writer.len() > WRITER_MAX_BYTES {
            return Err(refuse(
                "writer",
                "must be one writer's for all records, at most 128 bytes",
            ));
        }
        if record.sequence < 1 {
            return Err(refuse("sequence", "must be at least 1"));
        }
        if !matches!(
            record.decision(),
            pb::Decision::Allowed | pb::Decision::Refused
        ) {
            return Err(refuse("decision", "must be ALLOWED or REFUSED"));
        }
        let at = record.at.ok_or_else(|| refuse("at", "must be set"))?;
        let at = timestamp_from(&format!("records[{index}].at"), &at)?;
        read.push((record, at));
    }
    let follow = read
        .iter()
        .zip(read.iter().skip(1))
        .all(|((one, _), (next, _))| next.sequence == one.sequence.saturating_add(1));
    if !follow {
        return Err(Malformed::new(
            "records",
            "must follow one another without gaps",
        ));
    }
    Ok((writer, read))
}

fn position(cursor: &RecordCursor) -> Vec<u8> {
    format!(
        "{} {} {}",
        cursor.at.as_micros(),
        cursor.sequence,
        cursor.writer
    )
    .into_bytes()
}

fn cursor(position: &[u8]) -> Result<RecordCursor, Malformed> {
    let rule = || {
        Malformed::new(
            "page_token",
            "must be the next_page_token of the page before",
        )
    };
    let text = std::str::from_utf8(position).map_err(|_| rule())?;
    let mut parts = text.splitn(3, ' ');
    let (Some(at), Some(sequence), Some(writer)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(rule());
    };
    Ok(RecordCursor {
        at: Timestamp::from_micros(at.parse().map_err(|_| rule())?),
        writer: writer.to_owned(),
        sequence: sequence.parse().map_err(|_| rule())?,
    })
}

#[tonic::async_trait]
impl AuditService for Services {
    async fn append_records(
        &self,
        request: Request<pb::AppendRecordsRequest>,
    ) -> Reply<pb::AppendRecordsResponse> {
        let life = self.life()?;
        let peer = Peer::of(&request);
        let pb::AppendRecordsRequest { records } = request.into_inner();
        let (writer, records) = records_from(records).map_err(Fault::from)?;
        let own = match &peer {
            Peer::Service(service) => writer
                .split_once('/')
                .is_some_and(|(name, start)| name == service_name(*service) && !start.is_empty()),
            // The method's rule names services; whoever else got here writes nothing.
            Peer::Local | Peer::Instance(_) | Peer::Anonymous => false,
        };
        if !own {
            let refusal = error::audit_writer();
            let entry = records::of_refused(APPEND, refusal.reason(), &peer, None);
            return Err(self.recorded(entry, refusal).await.into());
        }
        match life
            .store
            .append(&writer, &records)
            .await
            .map_err(Fault::from)?
        {
            Appended::Kept(acknowledged) => {
                Ok(Response::new(pb::AppendRecordsResponse { acknowledged }))
            }
            Appended::Gap(acknowledged) => Err(error::audit_gap(acknowledged).into()),
            Appended::Broken { sequence, rule } => Err(error::audit_broken(sequence, rule).into()),
        }
    }

    async fn list_records(
        &self,
        request: Request<pb::ListRecordsRequest>,
    ) -> Reply<pb::ListRecordsResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let tenant = caller
            .tenant
            .ok_or(crate::caller::ScopeError::NoCaller)
            .map_err(Fault::from)?;
        let pb::ListRecordsRequest {
            page_size: wished,
            page_token,
            sandbox_id,
            refused_only,
        } = request.into_inner();
        let limit = page_size(wished).map_err(Fault::from)?;
        let sandbox = match sandbox_id.as_str() {
            "" => None,
            text => Some(SandboxId::parse("sandbox_id", text).map_err(Fault::from)?),
        };
        let filter = RecordFilter {
            tenant,
            sandbox,
            decision: refused_only.then_some(pb::Decision::Refused.into()),
        };
        let list = format!("{:?}\n{filter:?}", caller.principal);
        let after = self.pages.decode(&list, &page_token).map_err(Fault::from)?;
        let after = after
            .map(|bytes| cursor(&bytes))
            .transpose()
            .map_err(Fault::from)?;
        let rows = life.store.records(&filter, after.as_ref(), limit + 1).await;
        let mut rows = rows.map_err(Fault::from)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more);
        let next_page_token = next
            .map(|(_, next)| self.pages.encode(&list, &position(next)))
            .unwrap_or_default();
        Ok(Response::new(pb::ListRecordsResponse {
            records: rows.into_iter().map(|(record, _)| record).collect(),
            next_page_token,
        }))
    }
}
