//! Scripts: which program the kernel loads for one, and with which arguments. Nothing is opened here.

/// `BINPRM_BUF_SIZE`: what the kernel looks at to find an interpreter.
pub(super) const HEAD: usize = 256;

/// What the first line of a script names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interpreter<'a> {
    pub(super) name: &'a [u8],
    /// All the rest of the line.
    pub(super) argument: Option<&'a [u8]>,
}

/// The interpreter of a script, as the kernel reads it (`load_script` of `fs/binfmt_script.c`). After a short file come zeros.
pub(super) fn interpreter(head: &[u8]) -> Option<Interpreter<'_>> {
    let line = head.strip_prefix(b"#!")?;
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len().min(ENDLESS));
    let line = line.get(..end)?;
    let end = line.iter().rposition(|byte| !is_blank(*byte))?;
    let line = after_blanks(line.get(..=end)?);
    let end = line.iter().position(|byte| is_blank(*byte) || *byte == 0).unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
    let has_more = rest.first().is_some_and(|byte| *byte != 0);
    let argument = has_more.then(|| after_blanks(rest).split(|byte| *byte == 0).next()).flatten();
    Some(Interpreter { name, argument })
}

fn after_blanks(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_blank(*byte)).unwrap_or(line.len());
    line.get(start..).unwrap_or_default()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The arguments that a script's interpreter gets: the script's own name is not among them, but where the script is.
pub(super) fn of_script(name: &[u8], argument: Option<&[u8]>, script: &[u8], arguments: &[u8]) -> Vec<u8> {
    let own = arguments.iter().position(|byte| *byte == 0).map_or(0, |end| end + 1);
    let rest = arguments.get(own..).unwrap_or_default();
    let words = [Some(name), argument, Some(script)].into_iter().flatten();
    words.flat_map(|word| [word, b"\0"]).chain([rest]).flatten().copied().collect()
}

/// What the kernel takes of a line that does not end within what it looks at: all of that but `#!` and the last byte.
const ENDLESS: usize = HEAD - 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_read_as_the_kernel_reads_it() {
        let named = |head| interpreter(head).map(|found| (found.name, found.argument));
        let of = |name: &'static str, argument: Option<&'static str>| {
            Some((name.as_bytes(), argument.map(str::as_bytes)))
        };
        assert_eq!(named(b"#!/bin/sh\nexit"), of("/bin/sh", None));
        assert_eq!(named(b"#! \t/usr/bin/env  python3 -u \n"), of("/usr/bin/env", Some("python3 -u")));
        assert_eq!(named(b"#!/bin/sh"), of("/bin/sh", None));
        assert_eq!(named(b"#!/bin/sh -e\0\0"), of("/bin/sh", Some("-e")));
        assert_eq!(named(b"#!/bin/sh \0\0"), of("/bin/sh", Some("")));
        for none in [&b""[..], b"#", b"#!", b"#!\n", b"#! \n/bin/sh", b"\x7fELF", b" #!/bin/sh"] {
            assert_eq!(interpreter(none), None, "{none:?}");
        }
    }

    #[test]
    fn an_interpreter_is_told_where_the_script_is_and_not_how_it_was_called() {
        let told = of_script(b"/bin/sh", Some(b"-e"), b"./run", b"name\0one\0\0");
        assert_eq!(told, b"/bin/sh\0-e\0./run\0one\0\0");
        assert_eq!(of_script(b"/bin/env", None, b"/bin/sh", &told), b"/bin/env\0/bin/sh\0-e\0./run\0one\0\0");
        assert_eq!(of_script(b"/bin/sh", None, b"x", b""), b"/bin/sh\0x\0");
    }
}
