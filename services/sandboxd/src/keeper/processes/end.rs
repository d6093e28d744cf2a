//! The end of all processes: asked first, and killed when their time is up.

use std::sync::Arc;
use std::time::Duration;

use super::Processes;
use crate::keeper::process::Process;
use crate::keeper::runner::RunnerError;

/// SIGTERM, by its number, which is part of the kernel's interface.
const TERMINATE: i32 = 15;
/// How long what was killed may take to be gone: a process in an uninterruptible sleep is the kernel's to end.
const KILL_WAIT: Duration = Duration::from_secs(10);

impl Processes {
    /// Ends everything that the agent runs: SIGTERM to each group, SIGKILL to all that is left after `grace`.
    ///
    /// # Errors
    /// [`RunnerError`]: then the sandbox is gone with all that it ran.
    pub(crate) async fn end_all(&self, grace: Duration) -> Result<(), RunnerError> {
        let running: Vec<Arc<Process>> = self.table.lock().running().cloned().collect();
        for process in &running {
            self.signal(process, TERMINATE, true).await?;
        }
        let all_ended = async {
            for process in &running {
                process.wait().await;
            }
        };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            tracing::debug!("some processes did not end in their grace and are killed");
        }
        // Also what was never ours to name: children that left their group.
        self.runner.kill_all().await?;
        let running: Vec<Arc<Process>> = self.table.lock().running().cloned().collect();
        let all_gone = async {
            for process in &running {
                process.wait().await;
            }
        };
        if tokio::time::timeout(KILL_WAIT, all_gone).await.is_err() {
            tracing::warn!("some processes are killed and not gone yet");
        }
        Ok(())
    }
}
