//! The length of source files: a file is read in one sitting.

use crate::say::say;
use crate::tidy::Tracked;

/// Beyond this a file is named in the report. Six code bases that read well have medians of 135 to 310 lines.
const LONG: usize = 300;

/// Beyond this a file is a fault.
const TOO_LONG: usize = 700;

/// Names the long files, and returns those that are too long.
pub(crate) fn too_long(tracked: &[Tracked]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut lengths: Vec<usize> = Vec::new();
    for file in tracked.iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        lengths.push(lines);
        if lines > TOO_LONG {
            faults.push(format!("{}: {lines} lines; split it", file.path));
        } else if lines > LONG {
            say!("long: {} has {lines} lines", file.path);
        }
    }
    lengths.sort_unstable();
    if let Some(median) = lengths.get(lengths.len() / 2) {
        say!("{} source files, {median} lines at the median", lengths.len());
    }
    faults
}
