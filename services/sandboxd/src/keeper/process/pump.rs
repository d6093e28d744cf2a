//! Moves what a process writes into its ring, for as long as anybody could want it.

use std::io;
use std::sync::Arc;

use super::{Process, Stage};
use crate::keeper::pipe::Pipe;
use crate::keeper::ring::{PIECE_MAX_BYTES, Stream};

/// What is read at a time once nobody wants it any more.
const DISCARD_BYTES: usize = 4 * 1024;

impl Process {
    /// Reads one stream for as long as anybody could want it.
    pub(super) async fn pump(self: Arc<Self>, stream: Stream, pipe: Pipe) {
        let open = self.pump_while_running(stream, &pipe).await;
        if open {
            self.pump_rest(stream, &pipe).await;
        }
        self.stream_drained().await;
        if open {
            tokio::select! {
                () = discard(&pipe) => {}
                () = self.at_least(Stage::Forgotten) => {}
            }
        }
    }

    /// Reads until the process ends or the stream does; `true` when the stream is still open.
    async fn pump_while_running(&self, stream: Stream, pipe: &Pipe) -> bool {
        loop {
            let there_is_something = async {
                self.outputs.room(self.ring).await;
                pipe.readable().await
            };
            let ready = tokio::select! {
                ready = there_is_something => ready,
                () = self.at_least(Stage::Ended) => return true,
            };
            match ready.and_then(|()| self.move_some(stream, pipe, PIECE_MAX_BYTES)) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::debug!(%error, "the output of a process could not be read");
                    return false;
                }
            }
        }
    }

    /// Reads what the stream held when the process ended, and no more.
    async fn pump_rest(&self, stream: Stream, pipe: &Pipe) {
        let mut left = pipe.waiting();
        while left > 0 {
            tokio::select! {
                _ = self.outputs.room(self.ring) => {}
                () = self.at_least(Stage::Forgotten) => return,
            }
            match self.move_some(stream, pipe, left) {
                Ok(0) | Err(_) => return,
                Ok(count) => left -= count,
            }
        }
    }

    /// Moves what there is into the ring, as much as it takes now. No await lies between asking the ring and
    /// filling it, so the other stream cannot take the room meanwhile.
    fn move_some(&self, stream: Stream, pipe: &Pipe, most: usize) -> io::Result<usize> {
        let mut rings = self.outputs.rings.lock();
        let room = rings.room(self.ring).min(most);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let data = pipe.try_read(room)?;
        rings.push(self.ring, stream, &data);
        drop(rings);
        self.written.send_replace(());
        Ok(data.len())
    }

    /// One of the streams has nothing more; the last of them says that the answer is complete.
    async fn stream_drained(&self) {
        let last = {
            let mut draining = self.draining.lock();
            *draining = draining.saturating_sub(1);
            *draining == 0
        };
        if last {
            // Both streams can be closed long before the process ends.
            self.at_least(Stage::Ended).await;
            self.advance(Stage::Drained);
        }
    }
}

/// Reads and throws away, until nobody can write any more.
async fn discard(pipe: &Pipe) {
    loop {
        if pipe.readable().await.is_err() {
            return;
        }
        match pipe.try_read(DISCARD_BYTES) {
            Ok(data) if data.is_empty() => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
