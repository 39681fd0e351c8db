//! Builds a cell from a plan, and guards it: the system call filter as data, and the loop that answers for it.

mod announce;
mod build;
pub mod canary;
mod cell;
mod cgroup;
mod devices;
mod error;
pub mod filter;
pub mod guard;
mod init;
mod privileges;
mod program;
pub mod require;
mod root;
mod spawn;
mod wire;

pub use announce::Announcements;
pub use build::{BuildOptions, Building, EmptyCell, build};
pub use cell::{Cell, CellEvent, Spawn, SpawnId};
pub use cgroup::rehearse_limits;
pub use error::{CellError, Step};
