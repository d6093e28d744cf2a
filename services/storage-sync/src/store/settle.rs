//! What a commit settles beside the head: the run that made it, and the chunks of its upload.

use sandgate_db::{Write, params};
use sandgate_types::{Generation, VersionId, WorkspaceId};

use super::AdvanceError;
use crate::version::{Commit, Run};

const RUN: &str = "SELECT sandbox_id, generation FROM workspaces WHERE workspace_id = $1";
const SET_RUN: &str =
    "UPDATE workspaces SET sandbox_id = $2, generation = $3 WHERE workspace_id = $1";
const ADOPT: &str = "
    INSERT INTO chunks (workspace_id, name, length)
    SELECT $1, name, length FROM upload_chunks WHERE upload_id = $2
    ON CONFLICT (workspace_id, name) DO NOTHING";
const COMMIT: &str = "
    UPDATE uploads SET committed = $2, fingerprint = $3
    WHERE upload_id = $1 AND workspace_id = $4 AND committed IS NULL";
const DROP_CHUNKS: &str = "DELETE FROM upload_chunks WHERE upload_id = $1";

/// Refuses a run of a sandbox of which a later one has synced, and notes this one.
pub(super) async fn fence(
    write: &mut Write,
    workspace: &WorkspaceId,
    run: &Run,
) -> Result<(), AdvanceError> {
    let row = write.fetch_one(RUN, params![workspace.as_str()]).await?;
    let sandbox: Option<String> = row.get("sandbox_id")?;
    let generation = row.integer("generation")?;
    let same = sandbox.as_deref() == Some(run.sandbox.as_str());
    if same && generation > run.generation.get() {
        return Err(AdvanceError::RunPassed);
    }
    if !same || generation != run.generation.get() {
        let Run {
            sandbox,
            instance: _,
            generation,
        } = run;
        let values = params![
            workspace.as_str(),
            sandbox.as_str(),
            Generation::get(*generation)
        ];
        write.execute(SET_RUN, values).await?;
    }
    Ok(())
}

/// Makes an open upload's chunks the workspace's, and `version` its answer.
pub(super) async fn settle(
    write: &mut Write,
    workspace: &WorkspaceId,
    commit: &Commit,
    version: &VersionId,
) -> Result<(), AdvanceError> {
    let Commit {
        upload,
        fingerprint,
        run: _,
    } = commit;
    let values = params![
        upload.as_str(),
        version.as_str(),
        fingerprint,
        workspace.as_str()
    ];
    if write.execute(COMMIT, values).await? != 1 {
        return Err(AdvanceError::UploadNotOpen);
    }
    write
        .execute(ADOPT, params![workspace.as_str(), upload.as_str()])
        .await?;
    write.execute(DROP_CHUNKS, params![upload.as_str()]).await?;
    Ok(())
}
