//! The terminal of the person at it, in raw mode while a command in the sandbox has it.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Raw mode, until it is dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Enters raw mode, where standard input is a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before).unwrap_or_default();
    }
}
