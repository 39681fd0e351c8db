//! `unsafe` lives in one crate. The lint says so too; this check notices when someone relaxes the lint.

use crate::tidy::Tracked;

const BORDER: &str = "crates/wardroom-kernel/";

/// Uses of `unsafe`, or permissions for it, outside the border.
pub(crate) fn outside_the_border(tracked: &[Tracked]) -> Vec<String> {
    let signs = ["block", "fn", "impl", "extern"].map(|what| match what {
        "block" => format!("{} {{", "unsafe"),
        other => format!("{} {other}", "unsafe"),
    });
    let relaxed = format!("({}_code", "unsafe");
    let mut faults = Vec::new();
    for file in tracked.iter().filter(|file| file.is_rust() && !file.path.starts_with(BORDER)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            if signs.iter().any(|sign| code.contains(sign)) || code.contains(&relaxed) {
                faults.push(format!("{}:{number}: unsafe belongs in {BORDER}", file.path));
            }
        }
    }
    faults
}
