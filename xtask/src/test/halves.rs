//! The two halves of a test run: as whoever we are and, when that is root, once more as a plain user.
//!
//! A plain user must reach the checkout. Where a directory above it is closed to others (`/root`), the run gets a mount namespace
//! in which that directory holds nothing but the checkout; nothing changes outside.

use std::fmt::{self, Display};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::spawn;
use crate::test::programs::Program;
use crate::test::tally::Totals;

/// The uid and gid of the plain half: the top of the range that Debian's adduser hands out (1000 to 59999), so that
/// it is likely nobody's.
const PLAIN_ID: u32 = 59_999;

/// The crates that touch no kernel mechanism behave alike for everybody.
const SAME_FOR_ALL: [&str; 4] = ["wardroom-model", "wardroom-policy", "wardroom-ledger", "xtask"];

/// Seconds that one test program may take. The whole of CI has 20 minutes.
const PROGRAM_SECONDS: &str = "180";

/// Who runs the tests.
#[derive(Debug)]
pub(crate) enum Half {
    /// Whoever started us.
    Ourselves,
    /// A uid without any privilege.
    Plain {
        /// Its home, runtime and temporary directory.
        home: TempDir,
        /// The closed directory above the checkout, if there is one.
        closed: Option<PathBuf>,
    },
}

impl Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ourselves => Ok(()),
            Self::Plain { .. } => f.write_str("[plain user] "),
        }
    }
}

/// The halves that this machine can run; what it cannot is noted in `totals`.
pub(crate) fn of_this_machine(totals: &mut Totals) -> Result<Vec<Half>> {
    if !rustix::process::geteuid().is_root() {
        totals.skip("the root half of every containment test", "not started by root");
        return Ok(vec![Half::Ourselves]);
    }
    if !spawn::installed("setpriv") || !spawn::installed("unshare") {
        totals.skip("the plain user's half of every containment test", "no setpriv or unshare (util-linux)");
        return Ok(vec![Half::Ourselves]);
    }
    let home =
        tempfile::Builder::new().prefix("wardroom-plain-").tempdir_in("/tmp").context("a home in /tmp")?;
    fs::set_permissions(home.path(), Permissions::from_mode(0o700))?;
    chown(home.path(), Some(PLAIN_ID), Some(PLAIN_ID)).context("a home for the plain user")?;
    let closed = closed_above(&crate::workspace())?;
    Ok(vec![Half::Ourselves, Half::Plain { home, closed }])
}

impl Half {
    /// Whether this half runs a program at all.
    pub(crate) fn takes(&self, program: &Program) -> bool {
        match self {
            Self::Ourselves => true,
            Self::Plain { .. } => !SAME_FOR_ALL.contains(&program.package.as_str()),
        }
    }

    /// The command that runs a program in this half, up to its own arguments.
    pub(crate) fn command(&self, program: &Program) -> Command {
        let mut command = match self {
            Self::Ourselves => spawn::command("timeout"),
            Self::Plain { home, closed } => plain(home.path(), closed.as_deref()),
        };
        command
            .args(["--kill-after=10", PROGRAM_SECONDS])
            .arg(&program.executable)
            .current_dir(&program.directory)
            .env("CARGO_MANIFEST_DIR", &program.directory);
        command
    }
}

/// `timeout`, as the plain user.
fn plain(home: &Path, closed: Option<&Path>) -> Command {
    let id = PLAIN_ID.to_string();
    let mut command = match closed {
        None => spawn::command("setpriv"),
        Some(closed) => {
            let mut command = spawn::command("unshare");
            command.args(["--mount", "--propagation", "private", "sh", "-ec", OPEN_A_WAY, "sh"]);
            command.arg(closed).arg(crate::workspace()).arg("setpriv");
            command
        }
    };
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "timeout"]);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    for variable in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR"] {
        command.env(variable, home);
    }
    if let Some(ci) = std::env::var_os("CI") {
        command.env("CI", ci);
    }
    command
}

/// $1 the closed directory, $2 the checkout in it; the rest is the command.
const OPEN_A_WAY: &str = r#"
hold=$(mktemp -d)
mount --bind "$2" "$hold"
mount -t tmpfs -o mode=755,size=1m wardroom-test "$1"
mkdir -p "$2"
mount --move "$hold" "$2"
rmdir "$hold"
cd "$2"
shift 2
exec "$@"
"#;

/// The uppermost directory above `path` that others may not pass.
fn closed_above(path: &Path) -> Result<Option<PathBuf>> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    for directory in above {
        let mode = fs::metadata(directory).with_context(|| directory.display().to_string())?.mode();
        if mode & 0o001 == 0 {
            return Ok(Some(directory.to_owned()));
        }
    }
    Ok(None)
}
