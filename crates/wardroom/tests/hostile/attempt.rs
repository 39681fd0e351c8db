//! One attempt: in a cell, on the ledger, and as its control.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::hostile::manifest::{self, Control, During, Program};
use crate::hostile::place::Place;
use crate::hostile::report::End;
use crate::hostile::services::Services;
use crate::hostile::spawn::{self, Background, Ended};

/// What all attempts share.
#[derive(Debug)]
pub(crate) struct Machine {
    services: Services,
    /// Source below `hostile/` to what runs: an executable, or the script itself.
    executables: BTreeMap<PathBuf, PathBuf>,
    /// A process outside every cell, with a value in its environment.
    outside: Background,
    marker: String,
    /// Why no cell can be built here, if none can.
    no_cells: Option<String>,
    _directory: TempDir,
}

impl Machine {
    /// Starts the services and compiles what must be compiled.
    pub(crate) fn prepare(programs: &[Program]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("wardroom-hostile-").tempdir()?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)?;
        let mut executables = BTreeMap::new();
        for program in programs {
            if !executables.contains_key(&program.file) {
                executables.insert(program.file.clone(), executable(&program.file, directory.path())?);
            }
        }
        let marker = format!("wardroom-marker-{}", std::process::id());
        let outside = spawn::plain("sleep").arg("3600").env("WARDROOM_MARKER", &marker).spawn()?;
        Ok(Self {
            services: Services::start(directory.path())?,
            executables,
            outside: Background(outside),
            marker,
            no_cells: no_cells()?,
            _directory: directory,
        })
    }

    fn fill(&self, arguments: &[String], place: &Place) -> Vec<String> {
        let Services { tcp4, tcp6, udp4, dns, unix_path, unix_abstract, bound, unbound } = &self.services;
        let values = [
            ("{secret}", place.secret.display().to_string()),
            ("{home}", place.home.display().to_string()),
            ("{marker}", self.marker.clone()),
            ("{outside_pid}", self.outside.0.id().to_string()),
            ("{driver_pid}", std::process::id().to_string()),
            ("{workspace}", place.workspace.display().to_string()),
            ("{shared}", place.shared.display().to_string()),
            ("{scratch}", place.control.display().to_string()),
            ("{tcp4_host}", tcp4.ip().to_string()),
            ("{tcp4_port}", tcp4.port().to_string()),
            ("{tcp6_port}", tcp6.map_or(0, |address| address.port()).to_string()),
            ("{udp4_host}", udp4.ip().to_string()),
            ("{udp4_port}", udp4.port().to_string()),
            ("{dns}", dns.to_string()),
            ("{tls_host}", bound.address.ip().to_string()),
            ("{bound_port}", bound.address.port().to_string()),
            ("{unbound_port}", unbound.address.port().to_string()),
            ("{bound_authority}", bound.authority.display().to_string()),
            ("{unbound_authority}", unbound.authority.display().to_string()),
            ("{unix_path}", unix_path.display().to_string()),
            ("{unix_abstract}", unix_abstract.clone()),
            (
                "{control_socket}",
                place.base.join("run").join(format!("{}.sock", place.agent)).display().to_string(),
            ),
        ];
        let fill =
            |text: &String| values.iter().fold(text.clone(), |text, (name, value)| text.replace(name, value));
        arguments.iter().map(fill).collect()
    }
}

/// Why user namespaces do not work here, if they do not. Then, and only then, may a cell refuse to start.
fn no_cells() -> Result<Option<String>> {
    if rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let ended = spawn::run(spawn::limited("unshare").args([
        "--user",
        "--map-root-user",
        "--mount",
        "--net",
        "true",
    ]))?;
    Ok((ended.code != Some(0)).then(|| format!("no user namespaces here: {}", ended.stderr.trim())))
}

/// What runs for a source file.
fn executable(file: &Path, directory: &Path) -> Result<PathBuf> {
    let source = manifest::directory().join(file);
    if source.extension().is_none_or(|extension| extension != "c") {
        return Ok(source);
    }
    let binary = directory.join(source.file_stem().context("a program without a name")?);
    let ended = spawn::run(
        spawn::limited("cc")
            .args(["-O1", "-pthread", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&binary)
            .arg(&source),
    )?;
    ensure!(ended.code == Some(0), "{}: {}", file.display(), ended.stderr);
    Ok(binary)
}

/// Runs a program in a cell and as its control, and judges.
pub(crate) fn attempt(machine: &Machine, program: &Program) -> End {
    match judge(machine, program) {
        Ok(end) => end,
        Err(error) => End::Failed(format!("{error:#}")),
    }
}

fn judge(machine: &Machine, program: &Program) -> Result<End> {
    let executable = machine.executables.get(&program.file).context("not compiled")?;
    let place = Place::make(program, executable, &machine.services)?;
    let name = executable.file_name().context("a program without a name")?.to_string_lossy().into_owned();
    if let Some(why) = &machine.no_cells {
        return Ok(End::CouldNot(why.clone()));
    }
    if std::env::var_os("WARDROOM_HOSTILE_CONTROLS").is_some() {
        let control = as_a_control(machine, program, &place, &name)?;
        let said = format!("{} {}", control.last_line(), control.stderr.trim());
        return Ok(End::CouldNot(format!("only the control was asked for: {said}")));
    }
    let cell = in_a_cell(machine, program, &place, &name)?;
    let wanted = format!("{}:", program.expect);
    if !cell.last_line().starts_with(&wanted) {
        bail!(
            "in a cell, expected {wanted} and got {:?} (exit {:?})\n{}",
            cell.last_line(),
            cell.code,
            cell.stderr
        );
    }
    on_the_ledger(machine, program, &place).with_context(|| cell.last_line().to_owned())?;
    let control = as_a_control(machine, program, &place, &name)?;
    let proof = if program.expect == "DONE" { "DONE:" } else { "ESCAPED:" };
    if control.last_line().starts_with(proof) {
        return Ok(End::Proven);
    }
    Ok(End::CouldNot(format!("its control ended with: {} {}", control.last_line(), control.stderr.trim())))
}

fn interpreted(command: &mut Command, script: &str) {
    match Path::new(script).extension().and_then(|extension| extension.to_str()) {
        Some("py") => command.arg("/usr/bin/python3").arg("-I"),
        Some("sh") => command.arg("/bin/sh"),
        Some(_) | None => command,
    };
    command.arg(script);
}

/// Runs in a cell. Whoever starts Wardroom has a descriptor open and a value in the environment that must not get in.
fn in_a_cell(machine: &Machine, program: &Program, place: &Place, name: &str) -> Result<Ended> {
    let mut command = leaking(place);
    command.arg(env!("CARGO_BIN_EXE_wardroom")).arg("--base").arg(&place.base).args([
        "run",
        &place.agent,
        "--",
    ]);
    interpreted(&mut command, &format!("/workspace/{name}"));
    command.args(machine.fill(&program.args, place));
    command.env("HOME", &place.home).env("WARDROOM_MARKER", &machine.marker).current_dir(&place.home);
    thread::scope(|scope| {
        if let Some(during) = program.during {
            scope.spawn(move || meanwhile(during, place));
        }
        spawn::run(&mut command)
    })
}

/// A command that inherits descriptor 9, open on the operator's key.
fn leaking(place: &Place) -> Command {
    let mut command = spawn::limited("sh");
    command.args(["-c", r#"exec 9<"$0"; exec "$@""#]).arg(&place.secret);
    command
}

/// Waits until the program holds its connection, and changes the ground.
fn meanwhile(during: During, place: &Place) -> Result<()> {
    let held = place.workspace.join("held");
    for _ in 0..1000 {
        if held.exists() {
            return match during {
                During::NarrowThePolicy => place.write_policy(None),
                During::KillTheGate => kill_the_gate(place),
            };
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("the program never held a connection")
}

/// The gate is the child of this place's keeper whose role is `gate`.
fn kill_the_gate(place: &Place) -> Result<()> {
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        if words.get(1..3) == Some(&[b"__role".as_slice(), b"gate".as_slice()])
            && is_below(&entry.path(), place)
        {
            spawn::run(spawn::limited("kill").arg("-KILL").arg(entry.file_name()))?;
            return Ok(());
        }
    }
    bail!("no gate found")
}

/// Whether a process's parent was started for this place.
fn is_below(process: &Path, place: &Place) -> bool {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap_or_default();
    let line = fs::read(format!("/proc/{}/cmdline", parent.trim())).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(&*place.base.to_string_lossy())
}

/// Every record that the manifest wants, and an intact ledger.
fn on_the_ledger(machine: &Machine, program: &Program, place: &Place) -> Result<()> {
    for seen in &program.seen {
        let ended = spawn::run(&mut wardroom(place, &["log", &place.agent, "--json", "--kind", &seen.kind]))?;
        ensure!(ended.code == Some(0), "wardroom log: exit {:?}: {}", ended.code, ended.stderr);
        let wanted = machine.fill(std::slice::from_ref(&seen.contains), place).concat();
        let found = ended.stdout.lines().any(|record| record.contains(&wanted));
        ensure!(found, "not seen: no {} record with {wanted:?} among:\n{}", seen.kind, ended.stdout);
    }
    let ended = spawn::run(&mut wardroom(place, &["ledger", "verify", &place.agent]))?;
    ensure!(ended.code == Some(0), "wardroom ledger verify: exit {:?}: {}", ended.code, ended.stderr);
    Ok(())
}

fn wardroom(place: &Place, arguments: &[&str]) -> Command {
    let mut command = spawn::limited(env!("CARGO_BIN_EXE_wardroom"));
    command.arg("--base").arg(&place.base).args(arguments).env("HOME", &place.home);
    command
}

/// Runs without the protection.
fn as_a_control(machine: &Machine, program: &Program, place: &Place, name: &str) -> Result<Ended> {
    let mut command = leaking(place);
    if program.control == Control::Userns {
        command.args([
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--net",
            "--ipc",
            "--uts",
            "--pid",
            "--fork",
        ]);
        command.args(["--mount-proc", "sh", "-c", r#""$@"; exit $?"#, "sh"]);
    }
    interpreted(&mut command, &place.control.join(name).to_string_lossy());
    let arguments = program.control_args.as_ref().unwrap_or(&program.args);
    command.args(machine.fill(arguments, place)).current_dir(&place.control);
    spawn::run(&mut command)
}
