//! Real work: a build, a clone, imports. The projects are generated, so that every machine has the same.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::bench::inside::compare;
use crate::bench::place::Place;
use crate::bench::row::{Goal, Row};
use crate::spawn;

/// What issue and user feel: five in a hundred.
const UNNOTICED: Goal = Goal::AtMost(1.05);

/// A C project of 80 files with 60 functions each.
pub(crate) fn build(place: &Place) -> Result<Row> {
    for directory in [place.workspace(), place.bare()] {
        c_project(&directory.join("project"))?;
    }
    let script =
        "cd project && for f in *.c; do cc -O1 -c $f || exit 1; done && cc -o program *.o && rm *.o program";
    compare(
        place,
        &["./timed", "/bin/sh", "-c", script],
        3,
        ("build", "build of a C project of 80 files", UNNOTICED),
    )
}

fn c_project(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut main = String::from("int main(void) {\n    int sum = 0;\n");
    for file in 0..80 {
        let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
        for function in 0..60 {
            writeln!(
                text,
                "int f{file}_{function}(int n) {{ char b[64]; snprintf(b, sizeof b, \"%d\", n); \
                 for (int i = 0; i < n % 7; i++) n += (int)strlen(b) * {function}; return n ^ atoi(b); }}"
            )?;
        }
        fs::write(directory.join(format!("part{file}.c")), text)?;
        writeln!(main, "    extern int f{file}_0(int);\n    sum += f{file}_0({file});")?;
    }
    main += "    return sum == 42;\n}\n";
    fs::write(directory.join("main.c"), main)?;
    Ok(())
}

/// A clone of a repository of 2,000 files.
pub(crate) fn clone(place: &Place) -> Result<Row> {
    if !spawn::installed("git") {
        bail!("git is not installed");
    }
    for directory in [place.workspace(), place.bare()] {
        repository(&directory.join("origin"))?;
    }
    let script = "git -c safe.directory='*' clone -q --no-hardlinks origin copy && rm -rf copy";
    compare(
        place,
        &["./timed", "/bin/sh", "-c", script],
        5,
        ("git-clone", "git clone of 2,000 files", UNNOTICED),
    )
}

fn repository(directory: &Path) -> Result<()> {
    for number in 0..2000 {
        let folder = directory.join(format!("folder{}", number % 40));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("file{number}")), format!("line {number}\n").repeat(200))?;
    }
    let author = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"];
    for command in [vec!["init", "-q"], vec!["add", "-A"], vec!["commit", "-q", "-m", "files"]] {
        spawn::read(spawn::command("git").args(author).args(command).current_dir(directory))?;
    }
    Ok(())
}

/// 2,000 modules, imported.
pub(crate) fn imports(place: &Place) -> Result<Row> {
    for directory in [place.workspace(), place.bare()] {
        let modules = directory.join("modules");
        fs::create_dir_all(&modules)?;
        for number in 0..2000 {
            fs::write(modules.join(format!("module{number}.py")), format!("VALUE = {number}\n"))?;
        }
    }
    let script = "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, 'modules')\n\
                  for n in range(2000): __import__(f'module{n}')";
    let load = ["./timed", "/usr/bin/python3", "-I", "-c", script];
    compare(place, &load, 7, ("imports", "2,000 Python imports", UNNOTICED))
}
