//! A process's streams, with pipes in the place of a process.
