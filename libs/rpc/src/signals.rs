//! What a process is told from outside: to end, and to end at once.

use std::io;
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Shutdown;

/// What a shell adds to the number of the signal that ended a process.
const EXIT_SIGNAL_BASE: i32 = 128;

/// Does `work`, which begins `shutdown` at the first SIGTERM or Ctrl-C and goes on until it has drained. The second
/// signal ends the process at once, as it would end one that takes no signals: by then a person knows what is lost.
///
/// # Errors
/// The kernel gives no signals to wait for.
pub async fn until_told<T>(shutdown: &Shutdown, work: impl Future<Output = T>) -> io::Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return Ok(done),
        _number = next(&mut terminate, &mut interrupt) => {}
    }
    tracing::info!("ending; another signal ends at once");
    shutdown.begin();
    tokio::select! {
        done = work => Ok(done),
        number = next(&mut terminate, &mut interrupt) => end_at_once(number),
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _told = terminate.recv() => SignalKind::terminate().as_raw_value(),
        _told = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
    }
}

#[expect(
    clippy::exit,
    reason = "the one place that ends a process that was told twice"
)]
fn end_at_once(number: i32) -> ! {
    std::process::exit(EXIT_SIGNAL_BASE + number)
}
