//! A service that is started again whenever it dies, as an init system would.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::process::{Launch, Process, Seen};

/// A service that is kept running, until this is dropped.
#[derive(Debug)]
pub struct Kept {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    launch: Launch,
    state: Mutex<State>,
    started: Condvar,
}

#[derive(Debug)]
struct State {
    process: Process,
    /// Where the next process dies.
    crash_point: Option<String>,
    /// The numbers of those that are gone.
    gone: Vec<u32>,
    /// How many of them died by themselves.
    deaths: usize,
    /// Whether the next end is a kill of ours.
    told: bool,
    ending: bool,
}

impl Kept {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(launch: Launch) -> Self {
        let process = launch.start(None);
        let shared = Arc::new(Shared {
            launch,
            state: Mutex::new(State {
                process,
                crash_point: None,
                gone: Vec::new(),
                deaths: 0,
                told: false,
                ending: false,
            }),
            started: Condvar::new(),
        });
        let keeping = Arc::clone(&shared);
        Self {
            shared,
            keeper: Some(std::thread::spawn(move || keeping.keep())),
        }
    }

    /// Kills it; what is started instead dies at `crash_point`, when one is given.
    pub fn kill(&self, crash_point: Option<&str>) {
        let mut state = self.shared.state();
        let before = state.gone.len();
        state.crash_point = crash_point.map(str::to_owned);
        state.deaths = 0;
        state.told = true;
        let pid = state.process.pid();
        state.process.kill();
        let state = self
            .shared
            .started
            .wait_while(state, |state| state.gone.len() == before)
            .expect("nobody panicked");
        assert!(state.gone.contains(&pid), "it was replaced");
    }

    /// Stops it where it is; calls to it wait.
    pub fn freeze(&self) {
        assert!(self.shared.state().process.signal("STOP"), "it runs");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        assert!(self.shared.state().process.signal("CONT"), "it runs");
    }

    /// How often it has died by itself since it was killed last.
    pub fn deaths(&self) -> usize {
        self.shared.state().deaths
    }

    /// The numbers of the processes that are gone.
    pub fn gone(&self) -> Vec<u32> {
        self.shared.state().gone.clone()
    }

    /// The number of the process that runs.
    pub fn pid(&self) -> u32 {
        self.shared.state().process.pid()
    }

    /// What the process that runs has said.
    pub fn log(&self) -> String {
        self.shared.state().process.log()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked")
    }

    fn keep(&self) {
        loop {
            let seen: Arc<Seen> = self.state().process.seen();
            seen.wait_for_end();
            let mut state = self.state();
            if state.ending {
                return;
            }
            let crash_point = state.crash_point.take();
            state.deaths += usize::from(!state.told);
            state.told = false;
            let gone = state.process.pid();
            state.process = self.launch.start(crash_point.as_deref());
            state.gone.push(gone);
            self.started.notify_all();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.ending = true;
            state.process.kill();
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.join().expect("it kept the service");
        }
    }
}
