//! How the operator called this program, for the commands that it proposes: one that is typed as it stands means the same
//! installation.

use std::path::Path;
use std::sync::OnceLock;

use wardroom_ledger::words::in_one_line;

static CALLED: OnceLock<String> = OnceLock::new();

/// Remembers the directory of `--base`, from wherever the command will be typed.
pub(crate) fn with_base(base: Option<&Path>) {
    let prefix = base.and_then(|base| std::path::absolute(base).ok()).map(|base| prefix(&base));
    // The one who calls it twice is the one who called it first: a process has one command line.
    if let Some(prefix) = prefix
        && CALLED.set(prefix).is_err()
    {}
}

/// `wardroom`, or `wardroom --base DIR` as a shell takes it.
pub(crate) fn wardroom() -> &'static str {
    CALLED.get().map_or("wardroom", String::as_str)
}

fn prefix(base: &Path) -> String {
    let words = [b"wardroom", &b"--base"[..], base.as_os_str().as_encoded_bytes()];
    String::from_utf8_lossy(&in_one_line(words)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_a_space_is_one_word() {
        assert_eq!(prefix(Path::new("/a b")), "wardroom --base '/a b'");
        assert_eq!(prefix(Path::new("/a/b")), "wardroom --base /a/b");
    }
}
