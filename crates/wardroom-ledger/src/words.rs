//! A command's words in one line.

use shlex::bytes::Quoter;

/// The words, each as a shell would take it, so that one sees where each of them ends. Not escaped for a terminal.
#[must_use]
pub fn in_one_line<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Vec<u8> {
    let words: Vec<W> = words.into_iter().collect();
    // The one error is a NUL within a word, and it is permitted here.
    Quoter::new().allow_nul(true).join(words.iter().map(AsRef::as_ref)).unwrap_or_default()
}

/// The words of a record: each ends with a NUL, but for a last one that was cut.
pub(crate) fn of_record(arguments: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = arguments.strip_suffix(b"\0").unwrap_or(arguments).split(|byte| *byte == 0);
    // No bytes are no words, and not one that is empty.
    words.filter(move |_| !arguments.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_commands_look_the_same() {
        let shown = |record: &[u8]| String::from_utf8(in_one_line(of_record(record))).unwrap();
        assert_eq!(shown(b"sh\0-c\0id; pwd\0\0"), "sh -c 'id; pwd' ''");
        assert_eq!(shown(b"echo\0a' 'b\0"), "echo \"a' 'b\"");
        assert_eq!(shown(b"echo\0a\0b\0"), "echo a b");
        assert_eq!(shown(b"echo\0a b\0"), "echo 'a b'");
        assert_eq!(
            (shown(b""), shown(b"\0"), shown(b"printf\0\0")),
            ("".into(), "''".into(), "printf ''".into())
        );
        assert_eq!(shown(b"echo\0a\nb\0"), "echo 'a\nb'");
        for words in [&[&b"a' 'b"[..], b"", b"$(id)", b"\\", b"\"'", b"*"][..], &[b"\xff\n"]] {
            let line = in_one_line(words);
            assert_eq!(shlex::bytes::split(&line).unwrap(), words);
        }
    }
}
