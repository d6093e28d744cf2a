//! The runner: the half of sandboxd that is inside, as the first process of the sandbox.
//!
//! It starts processes and touches files, and knows no secret. One thread waits for the keeper and for the ends
//! of processes; what may take long, or streams, runs beside it. The runner obeys the keeper alone, over the one
//! socket that it was started with, and when that closes it returns, and the kernel ends everything in the
//! sandbox with it.

mod apply;
mod children;
mod dial;
mod files;
mod jobs;
mod launch;
mod program;
mod stream;
mod walk;
mod watch;
mod ways;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior};
use sandgate_spawn::control::Control;
use sandgate_workspace::tree::Tree;

use self::children::Children;
use self::files::Begun;
use self::jobs::Jobs;
use crate::protocol::{
    self, Answer, Event, Hello, Launched, Outcome, Request, Unsent, Why, receive_request, tell,
};

/// The port of the agent's listener.
pub(crate) const LISTENER_PORT: u16 = 4040;
/// Where the workspace is, in a sandbox.
const WORKSPACE: &str = "/workspace";
/// How often who lost their parents is looked for while anything runs. They cost a number until then.
const ORPHANS: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

/// Serves the keeper until it is gone: opens the agent's listener, tries the ways out, then obeys.
///
/// # Errors
/// What kept the runner from serving; the sandbox ends either way.
pub(crate) fn serve(socket: OwnedFd) -> io::Result<()> {
    if Control::HiddenRunner.applies() {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, LISTENER_PORT))?;
    let open_ways = if Control::Trial.applies() {
        ways::open_ways()
    } else {
        Vec::new()
    };
    let runner = Runner::new(socket, Path::new(WORKSPACE))?;
    runner.hello(listener, open_ways)?;
    runner.run()
}

/// The runner's state.
#[derive(Debug)]
pub(crate) struct Runner {
    socket: Arc<OwnedFd>,
    workspace: Arc<Workspace>,
    children: Children,
    begun: Begun,
    jobs: Jobs,
}

/// The one tree that the keeper's file operations reach.
#[derive(Debug)]
struct Workspace {
    tree: Tree,
    root: OwnedFd,
}

impl Runner {
    /// A runner whose workspace is `directory`.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub(crate) fn new(socket: OwnedFd, directory: &Path) -> io::Result<Self> {
        let tree = Tree::open(directory).map_err(io::Error::other)?;
        let root = std::fs::File::open(directory)?.into();
        let (socket, workspace) = (Arc::new(socket), Arc::new(Workspace { tree, root }));
        Ok(Self {
            jobs: Jobs::new(Arc::clone(&socket), Arc::clone(&workspace))?,
            socket,
            workspace,
            children: Children::default(),
            begun: Begun::default(),
        })
    }

    /// Says that the runner is there, and hands out the agent's listener.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn hello(&self, listener: TcpListener, open_ways: Vec<String>) -> io::Result<()> {
        tell(
            &self.socket,
            Event::Hello(Hello { open_ways }),
            &[listener.as_fd()],
        )
    }

    /// Obeys until the keeper is gone.
    ///
    /// # Errors
    /// When the connection breaks in another way.
    pub(crate) fn run(mut self) -> io::Result<()> {
        while self.turn()? {}
        Ok(())
    }

    /// Waits for something to happen and deals with it; `false` when the keeper is gone.
    fn turn(&mut self) -> io::Result<bool> {
        let asked = {
            let mut waiting = vec![PollFd::new(&self.socket, PollFlags::IN)];
            waiting.extend(
                self.children
                    .ends()
                    .map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN)),
            );
            let rest = self.children.may_inherit().then_some(&ORPHANS);
            match poll(&mut waiting, rest) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            !waiting[0].revents().is_empty()
        };
        for exited in self.children.reap() {
            tell(&self.socket, Event::Exited(exited), &[])?;
        }
        if !asked {
            return Ok(true);
        }
        let Some((id, request, descriptors)) = receive_request(&self.socket)? else {
            return Ok(false);
        };
        self.obey(id, request, descriptors)?;
        Ok(true)
    }

    fn obey(&mut self, id: u64, request: Request, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let tree = &self.workspace.tree;
        let nothing = |done: Result<(), Why>| done.map(|()| (Outcome::done(), Vec::new()));
        let descriptor =
            |opened: Result<OwnedFd, Why>| opened.map(|fd| (Outcome::done(), vec![fd]));
        let result = match request {
            Request::Launch(_) => self.launch(id, descriptors),
            Request::Signal(protocol::Signal {
                process,
                signal,
                group,
            }) => {
                let sent = self.children.signal(process, signal, group);
                sent.map(|sent| (Outcome::Signalled(sent), Vec::new()))
            }
            Request::KillAll(_) => {
                self.children.kill_all();
                nothing(Ok(()))
            }
            Request::Dial(port) => descriptor(dial::dial(port)),
            Request::Open(path) => descriptor(files::open(tree, &path)),
            Request::Create(create) => descriptor(self.begun.create(tree, id, &create)),
            Request::Commit(commit) => self
                .begun
                .commit(commit)
                .map(|info| (Outcome::Info(info), Vec::new())),
            Request::Abandon(file) => {
                self.begun.abandon(file);
                nothing(Ok(()))
            }
            Request::Stat(path) => {
                files::stat(tree, &path).map(|info| (Outcome::Info(info), Vec::new()))
            }
            Request::List(list) => {
                files::list(tree, &list).map(|listing| (Outcome::Listing(listing), Vec::new()))
            }
            Request::MakeDirectory(make) => nothing(files::make_directory(tree, &make)),
            Request::Move(request) => nothing(files::rename(tree, &request)),
            Request::Remove(_) | Request::Walk(_) | Request::Apply(_) | Request::Watch(_) => {
                match self.jobs.begin(id, request, descriptors) {
                    Ok(()) => return Ok(()),
                    Err(why) => Err(why),
                }
            }
        };
        let (outcome, descriptors) = result.unwrap_or_else(|why| (why.into(), Vec::new()));
        match answer(&self.socket, id, outcome, &descriptors) {
            Err(error) if protocol::unsent(&error) == Unsent::Crowded => {
                self.undo(id);
                answer(&self.socket, id, Why::Crowded.into(), &[])
            }
            sent => sent,
        }
    }

    /// Ends what a request began of whose descriptors the keeper was not told.
    fn undo(&mut self, id: u64) {
        self.begun.abandon(id);
        // Most requests started nobody.
        let _nobody = self.children.signal(id, Signal::KILL.as_raw(), true);
    }

    fn launch(
        &mut self,
        id: u64,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Outcome, Vec<OwnedFd>), Why> {
        let launch = launch::read(descriptors)?;
        let launch::Running { pid, descriptors } = launch::start(&launch)?;
        self.children.enter(id, pid)?;
        let pid = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0);
        Ok((Outcome::Launched(Launched { pid }), descriptors))
    }
}

fn answer(socket: &OwnedFd, id: u64, outcome: Outcome, descriptors: &[OwnedFd]) -> io::Result<()> {
    let borrowed: Vec<_> = descriptors.iter().map(std::os::fd::AsFd::as_fd).collect();
    tell(
        socket,
        Event::Answer(Answer {
            id,
            outcome: Some(outcome),
        }),
        &borrowed,
    )
}
