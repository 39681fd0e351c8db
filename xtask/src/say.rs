//! Where xtask speaks. A developer's tool has no data output of its own, so everything goes to standard error.
#![expect(
    clippy::print_stderr,
    reason = "a developer's tool talks to a person; this module is its only mouth"
)]

/// Writes one line.
pub(crate) fn line(text: &str) {
    eprintln!("{text}");
}

/// Writes one formatted line.
macro_rules! say {
    ($($argument:tt)*) => { $crate::say::line(&format!($($argument)*)) };
}
pub(crate) use say;
