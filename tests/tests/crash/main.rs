//! The mesh dies at a named place of a life; what starts next finds nothing half-done and loses no file.

mod keys;
mod life;
mod one_process;
mod sandbox;
mod separate;
