//! Clients and their server for the rows about the gate: the same program (`traffic`, an example of the gate's crate) at both
//! ends, in a cell, in the open, or behind another proxy.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bench::place::Place;
use crate::bench::squid::Squid;
use crate::say::say;
use crate::spawn;

const DIRECT: &str = "direct.bench.example";
const PASSED: &str = "passed.bench.example";
const INSPECTED: &str = "inspected.bench.example";
const BARE: &str = "bare.bench.example";
const PLAIN: &str = "plain.bench.example";

/// A way from a client to the server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lane {
    /// No gateway at all.
    Direct,
    /// Through the gate, by the name in TLS alone.
    Passed,
    /// Through the gate, which opens TLS.
    Inspected,
    /// To the server that parses nothing, through the gate, which opens TLS.
    Bare,
    /// To the same without a gateway.
    BareDirect,
    /// Plain TCP without a gateway.
    PlainDirect,
    /// Plain TCP through the gate.
    Plain,
    /// Through mitmproxy, which opens TLS as well.
    Mitmproxy,
    /// Through squid, which is asked with `CONNECT`, and opens TLS as well.
    Squid,
}

/// A kind of load, how often, and over how many connections at once.
pub(crate) type Work = (&'static str, usize, usize);

/// The server, and the policy that leads to it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Talker,
    ports: Ports,
    authority: PathBuf,
    mitmproxy: Option<Mitmproxy>,
    squid: Option<Squid>,
}

/// Where the server serves HTTPS, the same fixed bytes behind TLS for everything, and a flood without TLS.
#[derive(Debug, Clone, Copy)]
struct Ports {
    web: u16,
    bare: u16,
    plain: u16,
}

/// A process that is spoken to line by line, and ends when it is dropped.
#[derive(Debug)]
struct Talker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// A client that waits for its word.
#[derive(Debug)]
pub(crate) struct Load(Talker);

impl Server {
    /// Builds the program, starts the server, and permits the ways to it.
    pub(crate) fn start(place: &Place) -> Result<Self> {
        let example =
            ["build", "--release", "--locked", "--package", "wardroom-gate", "--example", "traffic"];
        spawn::run(&mut spawn::cargo(&example))?;
        let built = crate::workspace().join("target/release/examples/traffic");
        for directory in [place.workspace(), place.bare()] {
            fs::copy(&built, directory.join("traffic"))?;
        }
        let authority = place.workspace().join("ca.pem");
        let mut serve = place.in_the_open(&["./traffic", "serve"])?;
        serve.arg(&authority).args([DIRECT, PASSED, INSPECTED, BARE, "127.0.0.1"]);
        let mut process = Talker::start(serve)?;
        let line = process.hear()?;
        let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<u16>, _>>()?;
        let [web, bare, plain] = *numbers else { bail!("the server said {line:?}") };
        let ports = Ports { web, bare, plain };
        place.permit_more(&rules(ports, &fs::read_to_string(&authority)?))?;
        let mitmproxy = Mitmproxy::start(place, web, &authority)?;
        let squid = Squid::start(DIRECT, &authority)?;
        let mut server = Self { process, ports, authority, mitmproxy, squid };
        // A peer that does not work here would be measured as nothing.
        if server.has_mitmproxy()
            && let Err(error) = server.number(place, Lane::Mitmproxy, ("round-trips", 1, 1))
        {
            say!("mitmproxy is left out, because it does not run here: {error:#}");
            server.mitmproxy = None;
        }
        if server.has_squid()
            && let Err(error) = server.number(place, Lane::Squid, ("round-trips", 1, 1))
        {
            say!("squid is left out, because it does not run here: {error:#}");
            server.squid = None;
        }
        Ok(server)
    }

    /// Whether mitmproxy is here to be compared with.
    pub(crate) fn has_mitmproxy(&self) -> bool {
        self.mitmproxy.is_some()
    }

    /// Whether squid is.
    pub(crate) fn has_squid(&self) -> bool {
        self.squid.is_some()
    }

    /// Starts a client on its lane; it has connected where its kind of load begins with open connections.
    pub(crate) fn load(&self, place: &Place, lane: Lane, work: Work) -> Result<Load> {
        let (kind, count, parallel) = work;
        // What is judged is a median or a rate: a tenth says the same of a proxy that is some ten times slower.
        let count = if matches!(lane, Lane::Mitmproxy) { (count / 10).max(parallel) } else { count };
        let (count, parallel) = (count.to_string(), parallel.to_string());
        let load = ["./traffic", "load", kind, &count, &parallel];
        let loopback = |port: u16| format!("127.0.0.1:{port}");
        let authority = self.authority.to_string_lossy().into_owned();
        let inside = |name: &str, port: u16, ca: &str| {
            let mut command = place.in_a_cell(&load);
            command.args([name, &format!("{name}:{port}"), ca]);
            command
        };
        let outside = |name: &str, address: &str, ca: &str| -> Result<Command> {
            let mut command = place.in_the_open(&load)?;
            command.args([name, address, ca]);
            Ok(command)
        };
        let command = match lane {
            Lane::Direct => outside(DIRECT, &loopback(self.ports.web), &authority)?,
            Lane::BareDirect => outside(DIRECT, &loopback(self.ports.bare), &authority)?,
            Lane::PlainDirect => outside(DIRECT, &loopback(self.ports.plain), &authority)?,
            Lane::Passed => inside(PASSED, 443, "ca.pem"),
            Lane::Plain => inside(PLAIN, 80, "ca.pem"),
            Lane::Inspected => inside(INSPECTED, 443, "/etc/ssl/wardroom/authority.pem"),
            Lane::Bare => inside(BARE, 443, "/etc/ssl/wardroom/authority.pem"),
            Lane::Mitmproxy => {
                let proxy = self.mitmproxy.as_ref().context("mitmproxy is not installed")?;
                outside(DIRECT, &loopback(proxy.port), &proxy.authority.to_string_lossy())?
            }
            Lane::Squid => {
                let proxy = self.squid.as_ref().context("squid is not installed")?;
                let through = format!("{}/{DIRECT}:{}", loopback(Squid::PORT), self.ports.web);
                outside(DIRECT, &through, &proxy.authority().to_string_lossy())?
            }
        };
        let mut talker = Talker::start(command)?;
        match talker.hear()?.as_str() {
            "ready" => Ok(Load(talker)),
            other => bail!("the load said {other:?}"),
        }
    }

    /// One number of a whole client's life.
    pub(crate) fn number(&self, place: &Place, lane: Lane, work: Work) -> Result<f64> {
        self.load(place, lane, work)?.work()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.input = None;
    }
}

impl Load {
    /// Gives the word, and waits for the number. What the client opened stays open until it is dropped.
    pub(crate) fn work(&mut self) -> Result<f64> {
        self.0.say()?;
        Ok(self.0.hear()?.parse()?)
    }

    /// The gate that it goes through: a child of its keeper.
    pub(crate) fn gate(&self) -> Result<u32> {
        let keeper = self.0.child.id();
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
        let is_gate = |pid: &u32| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split(|byte| *byte == 0).nth(2) == Some(b"gate".as_slice()))
        };
        let mut found = children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(is_gate);
        found.next().context("no gate among the keeper's children")
    }
}

impl Talker {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, input, output })
    }

    fn say(&mut self) -> Result<()> {
        self.input.as_mut().context("no input")?.write_all(b"go\n").context("the process is gone")
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the process ended without a word");
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.input = None;
        // It ends by itself now; that it fails to shows in what it did not say.
        let _ended = self.child.wait();
    }
}

fn rules(ports: Ports, authority: &str) -> String {
    let Ports { web, bare, plain } = ports;
    let to = |port: u16| format!("address = \"127.0.0.1:{port}\"\n");
    let inspected = |host: &str, port: u16| {
        let to = to(port);
        format!(
            "\n[[network.allow]]\nhost = \"{host}\"\ninspect = true\n{to}ca = \"\"\"\n{authority}\"\"\"\n"
        )
    };
    format!(
        "\n[network]\nconnections = 12000\n{}{}\
         \n[[network.allow]]\nhost = \"{PASSED}\"\n{}\
         \n[[network.allow]]\nhost = \"{PLAIN}\"\nprotocol = \"tcp\"\nports = [80]\n{}",
        inspected(INSPECTED, web),
        inspected(BARE, bare),
        to(web),
        to(plain)
    )
}

/// mitmproxy before the server: it opens TLS with an authority of its own, verifies the server, and keeps nothing.
#[derive(Debug)]
struct Mitmproxy {
    child: Child,
    port: u16,
    authority: PathBuf,
}

/// Some port that is likely free; where it is not, mitmproxy says so and is left out.
const MITMPROXY_PORT: u16 = 39_443;

impl Mitmproxy {
    fn start(place: &Place, server: u16, authority: &Path) -> Result<Option<Self>> {
        if !spawn::installed("mitmdump") {
            return Ok(None);
        }
        let directory = place.bare().join("mitmproxy");
        let mut command = spawn::command("mitmdump");
        command.args(["--quiet", "--mode", &format!("reverse:https://127.0.0.1:{server}")]);
        command.args(["--listen-host", "127.0.0.1", "--listen-port", &MITMPROXY_PORT.to_string()]);
        command.arg("--set").arg(format!("confdir={}", directory.display()));
        command.arg("--set").arg(format!("ssl_verify_upstream_trusted_ca={}", authority.display()));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let proxy = Self { child, port: MITMPROXY_PORT, authority: directory.join("mitmproxy-ca-cert.pem") };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", MITMPROXY_PORT)).is_ok() && proxy.authority.exists() {
                return Ok(Some(proxy));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(None)
    }
}

impl Drop for Mitmproxy {
    fn drop(&mut self) {
        // Ours to end; one that is gone already needs no ending.
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}
