//! No package registry's host is written anywhere: where installing needs one, it is read from the operator's own npm,
//! pip or cargo configuration.

use crate::tidy::Tracked;

/// The hosts, in pieces, so that this file does not name them either.
const REGISTRIES: [&[&str]; 14] = [
    &["crates", "io"],
    &["pypi", "org"],
    &["pythonhosted", "org"],
    &["npmjs", "org"],
    &["npmjs", "com"],
    &["yarnpkg", "com"],
    &["rubygems", "org"],
    &["proxy", "golang", "org"],
    &["maven", "org"],
    &["maven", "apache", "org"],
    &["packagist", "org"],
    &["nuget", "org"],
    &["hex", "pm"],
    &["conda", "anaconda", "org"],
];

/// Lines that name a registry.
pub(crate) fn named(tracked: &[Tracked]) -> Vec<String> {
    let hosts: Vec<String> = REGISTRIES.iter().map(|pieces| pieces.join(".")).collect();
    let mut faults = Vec::new();
    // Cargo writes the name of its index into every entry of the lock file; nobody else chose it.
    for file in tracked.iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (number, line) in (1..).zip(file.text.lines()) {
            if hosts.iter().any(|host| line.contains(host.as_str())) {
                faults.push(format!("{}:{number}: names a package registry's host", file.path));
            }
        }
    }
    faults
}
