//! Bytes both ways between two ends: counted, timed, and cut when what allowed them ends.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::Instant;

use crate::refusal::{CutReason, Refusal};
use crate::streams::Cut;

/// What is read at once, one way.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long one way may go on when the other has ended: an end that says goodbye is heard, one that does not know
/// when to stop is not waited for.
const LINGER: Duration = Duration::from_secs(10);

/// How much may go one way, and for what what is beyond is refused.
#[derive(Debug)]
pub(crate) struct Most {
    /// In bytes.
    pub(crate) bytes: u64,
    /// What one byte more is.
    pub(crate) refusal: Refusal,
}

/// What went through.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Bytes of `near` that reached `far`.
    pub(crate) up: u64,
    /// Bytes of `far` that reached `near`.
    pub(crate) down: u64,
    /// Why it was ended by us, if it was.
    pub(crate) refusal: Option<Refusal>,
}

/// Carries bytes between `near`, the end in a sandbox, and `far`, until both have ended, one broke, or we cut it. Nothing
/// is read ahead of what the other end takes.
pub(crate) async fn carry<N, F>(
    near: N,
    far: F,
    (up, down): (Most, Most),
    until: Instant,
    cut: &Cut,
) -> Carried
where
    N: AsyncRead + AsyncWrite,
    F: AsyncRead + AsyncWrite,
{
    let (mut near_reads, mut near_writes) = split(near);
    let (mut far_reads, mut far_writes) = split(far);
    let (mut went_up, mut went_down) = (0, 0);
    let refusal = {
        let upward = one_way(&mut near_reads, &mut far_writes, up, &mut went_up);
        let downward = one_way(&mut far_reads, &mut near_writes, down, &mut went_down);
        tokio::select! {
            biased;
            reason = cut.happened() => Some(Refusal::Cut(reason)),
            () = tokio::time::sleep_until(until) => Some(Refusal::DeadlineExceeded),
            refusal = both(upward, downward) => refusal,
        }
    };
    Carried {
        up: went_up,
        down: went_down,
        refusal,
    }
}

/// How one way ended: by its end, or because it broke or is refused, which ends the other too.
type Ended = Result<(), Option<Refusal>>;

async fn both(
    upward: impl Future<Output = Ended>,
    downward: impl Future<Output = Ended>,
) -> Option<Refusal> {
    let (mut upward, mut downward) = (pin!(upward), pin!(downward));
    let (first, was_up) = tokio::select! {
        ended = upward.as_mut() => (ended, true),
        ended = downward.as_mut() => (ended, false),
    };
    if let Err(refusal) = first {
        return refusal;
    }
    let rest = if was_up {
        tokio::time::timeout(LINGER, downward).await
    } else {
        tokio::time::timeout(LINGER, upward).await
    };
    rest.unwrap_or(Ok(())).err().flatten()
}

async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    most: Most,
    went: &mut u64,
) -> Ended {
    let broke = |error: io::Error| {
        tracing::debug!(%error, "one end of a tunnel broke");
        None
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await.map_err(broke)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return to.shutdown().await.map_err(broke);
        }
        let more = went.saturating_add(bytes.len() as u64);
        if more > most.bytes {
            return Err(Some(most.refusal));
        }
        to.write_all(bytes).await.map_err(broke)?;
        to.flush().await.map_err(broke)?;
        *went = more;
    }
}

/// Carries on until `ending`, which cuts what has no end of its own.
pub(crate) async fn or_ending<T>(
    ending: impl Future<Output = ()>,
    cut: &Cut,
    carrying: impl Future<Output = T>,
) -> T {
    let mut carrying = pin!(carrying);
    tokio::select! {
        carried = carrying.as_mut() => return carried,
        () = ending => cut.now(CutReason::Ending),
    }
    carrying.await
}

#[cfg(test)]
mod tests;
