//! Other sandboxes that do some of what a cell does, where they are installed. One that does not run here is named and
//! left out: a peer that fails at once would look fast.

use std::process::Command;

use crate::bench::place::Place;
use crate::say::say;
use crate::spawn;

/// A sandbox, and how it is told to run a command with its usual settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

const PEERS: [Peer; 4] = [
    Peer { name: "sandbox-runtime", program: "srt", arguments: &[] },
    Peer { name: "codex", program: "codex", arguments: &["sandbox", "--"] },
    Peer { name: "nono", program: "nono", arguments: &["run", "--silent", "--allow-cwd", "--"] },
    Peer {
        name: "sandlock",
        program: "sandlock",
        arguments: &["run", "--fs-read", "/", "--fs-write", ".", "--"],
    },
];

impl Peer {
    /// A command in this sandbox, in the bare side's directory.
    pub(crate) fn running(&self, place: &Place, load: &[&str]) -> Command {
        let mut command = spawn::command(self.program);
        command.args(self.arguments).args(load).current_dir(place.bare());
        command
    }
}

/// The peers that are installed and run this load to its end.
pub(crate) fn installed(place: &Place, load: &[&str]) -> Vec<Peer> {
    let there = PEERS.into_iter().filter(|peer| spawn::installed(peer.program));
    there
        .filter(|peer| match spawn::read(&mut peer.running(place, load)) {
            Ok(_) => true,
            Err(error) => {
                say!("{} is left out, because it does not run here: {error:#}", peer.name);
                false
            }
        })
        .collect()
}
