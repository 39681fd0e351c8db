//! Where each audited file call keeps what it says, as data: one line a call.

use wardroom_kernel::calls;
use wardroom_model::event::FileOp;

use Act::{Is, Open};
use Place::{At, Descriptor, Path, Text};

/// Where a call keeps what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) act: Act,
    pub(super) place: Place,
    pub(super) other: Option<Place>,
    pub(super) mode: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// Always this.
    Is(FileOp),
    /// An open, by the flags in this argument.
    Open(usize),
}

/// How a call names a file; the numbers are arguments.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// A path.
    Path(usize),
    /// A directory's descriptor, and a path.
    At(usize, usize),
    /// A descriptor alone.
    Descriptor(usize),
    /// The text of a symbolic link, which names a place only for who follows it.
    Text(usize),
}

/// The shape of every audited file call, by its number.
pub(super) fn shapes() -> Vec<Option<Shape>> {
    let mut shapes = Vec::new();
    for (name, act, place, other, mode) in SHAPES {
        let Some(at) = calls::number(name).and_then(|number| usize::try_from(number).ok()) else { continue };
        if shapes.len() <= at {
            shapes.resize(at + 1, None);
        }
        if let Some(slot) = shapes.get_mut(at) {
            *slot = Some(Shape { act: *act, place: *place, other: *other, mode: *mode });
        }
    }
    shapes
}

/// Name, what it does, the place it is done to, the other place, the argument with the mode.
type Line = (&'static str, Act, Place, Option<Place>, Option<usize>);

#[rustfmt::skip]
const SHAPES: &[Line] = &[
    ("open",         Open(1),                     Path(0),       None,           Some(2)),
    ("openat",       Open(2),                     At(0, 1),      None,           Some(3)),
    ("creat",        Is(FileOp::Create),          Path(0),       None,           Some(1)),
    ("truncate",     Is(FileOp::Truncate),        Path(0),       None,           None),
    ("unlink",       Is(FileOp::Delete),          Path(0),       None,           None),
    ("unlinkat",     Is(FileOp::Delete),          At(0, 1),      None,           None),
    ("rmdir",        Is(FileOp::Delete),          Path(0),       None,           None),
    ("rename",       Is(FileOp::Rename),          Path(0),       Some(Path(1)),  None),
    ("renameat",     Is(FileOp::Rename),          At(0, 1),      Some(At(2, 3)), None),
    ("renameat2",    Is(FileOp::Rename),          At(0, 1),      Some(At(2, 3)), None),
    ("link",         Is(FileOp::Link),            Path(0),       Some(Path(1)),  None),
    ("linkat",       Is(FileOp::Link),            At(0, 1),      Some(At(2, 3)), None),
    ("symlink",      Is(FileOp::Symlink),         Path(1),       Some(Text(0)),  None),
    ("symlinkat",    Is(FileOp::Symlink),         At(1, 2),      Some(Text(0)),  None),
    ("mkdir",        Is(FileOp::MakeDirectory),   Path(0),       None,           Some(1)),
    ("mkdirat",      Is(FileOp::MakeDirectory),   At(0, 1),      None,           Some(2)),
    ("mknod",        Is(FileOp::MakeNode),        Path(0),       None,           Some(1)),
    ("mknodat",      Is(FileOp::MakeNode),        At(0, 1),      None,           Some(2)),
    ("chmod",        Is(FileOp::ChangeMode),      Path(0),       None,           Some(1)),
    ("fchmod",       Is(FileOp::ChangeMode),      Descriptor(0), None,           Some(1)),
    ("fchmodat",     Is(FileOp::ChangeMode),      At(0, 1),      None,           Some(2)),
    ("fchmodat2",    Is(FileOp::ChangeMode),      At(0, 1),      None,           Some(2)),
    ("chown",        Is(FileOp::ChangeOwner),     Path(0),       None,           None),
    ("lchown",       Is(FileOp::ChangeOwner),     Path(0),       None,           None),
    ("fchown",       Is(FileOp::ChangeOwner),     Descriptor(0), None,           None),
    ("fchownat",     Is(FileOp::ChangeOwner),     At(0, 1),      None,           None),
    ("setxattr",     Is(FileOp::SetAttribute),    Path(0),       None,           None),
    ("lsetxattr",    Is(FileOp::SetAttribute),    Path(0),       None,           None),
    ("fsetxattr",    Is(FileOp::SetAttribute),    Descriptor(0), None,           None),
    ("setxattrat",   Is(FileOp::SetAttribute),    At(0, 1),      None,           None),
    ("removexattr",  Is(FileOp::RemoveAttribute), Path(0),       None,           None),
    ("lremovexattr", Is(FileOp::RemoveAttribute), Path(0),       None,           None),
    ("fremovexattr", Is(FileOp::RemoveAttribute), Descriptor(0), None,           None),
    ("removexattrat",Is(FileOp::RemoveAttribute), At(0, 1),      None,           None),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Audit, audited};

    #[test]
    fn every_audited_file_call_has_a_shape() {
        for name in audited(Audit::File) {
            assert!(SHAPES.iter().any(|(shaped, ..)| *shaped == name), "{name}");
        }
    }
}
