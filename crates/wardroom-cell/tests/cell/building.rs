//! How a cell is built, and what is left when it could not be.

use crate::harness::{Case, World};

pub(crate) const CASES: &[Case] = &[("a_command_runs_and_its_exit_code_is_returned", exit_code)];

fn exit_code(world: &World) {
    let (status, said) = world.script("echo hello; id; exit 7");
    assert_eq!(status, 7, "{said}");
    assert!(said.contains("hello\nuid=1000(agent) gid=1000"), "{said}");
}
