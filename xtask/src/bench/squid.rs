//! squid with `ssl_bump`, where it is installed as Debian installs it: it opens TLS with an authority that is made here,
//! verifies the server, and keeps nothing.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::spawn;

/// Makes the certificates of the hosts; where it is not, squid cannot do what is compared.
const CERTIFIER: &str = "/usr/lib/squid/security_file_certgen";
/// Who squid becomes when root starts it, unless told otherwise.
const USER: &str = "proxy";

/// It runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Squid {
    child: Child,
    directory: TempDir,
}

impl Squid {
    /// Some port that is likely free; where it is not, squid ends and is left out.
    pub(crate) const PORT: u16 = 39_444;

    /// Before the server of this name, which the authority in the file vouches for. None where squid is not installed.
    pub(crate) fn start(host: &str, trusted: &Path) -> Result<Option<Self>> {
        if !spawn::installed("squid") || !spawn::installed("openssl") || !Path::new(CERTIFIER).exists() {
            return Ok(None);
        }
        // Not in the bench's own directory, which squid's user cannot enter.
        let directory = tempfile::Builder::new().prefix("wardroom-squid-").tempdir()?;
        let at = directory.path();
        let (key, authority) = (at.join("key.pem"), at.join("authority.pem"));
        let mut make = spawn::command("openssl");
        make.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]);
        make.args(["-subj", "/CN=authority of squid", "-addext", "basicConstraints=critical,CA:TRUE"]);
        spawn::read(make.arg("-keyout").arg(&key).arg("-out").arg(&authority).stderr(Stdio::null()))?;
        let store = at.join("certificates");
        spawn::read(spawn::command(CERTIFIER).args(["-c", "-s"]).arg(&store).args(["-M", "4MB"]))?;
        fs::copy(trusted, at.join("trusted.pem"))?;
        fs::write(at.join("hosts"), format!("127.0.0.1 {host}\n"))?;
        fs::write(at.join("squid.conf"), configuration(at))?;
        if rustix::process::geteuid().is_root() {
            spawn::read(spawn::command("chown").args(["-R", USER]).arg(at))?;
        }
        let mut command = spawn::command("squid");
        command.args(["-N", "-f"]).arg(at.join("squid.conf"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let squid = Self { child, directory };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", Self::PORT)).is_ok() {
                return Ok(Some(squid));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(None)
    }

    /// The certificate that its clients trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        // Ours to end; one that is gone already needs no ending. Its certifiers end when it is gone.
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn configuration(at: &Path) -> String {
    let (at, port) = (at.display(), Squid::PORT);
    format!(
        "http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=4MB \
         tls-cert={at}/authority.pem tls-key={at}/key.pem\n\
         sslcrtd_program {CERTIFIER} -s {at}/certificates -M 4MB\n\
         ssl_bump bump all\n\
         http_access allow all\n\
         tls_outgoing_options cafile={at}/trusted.pem\n\
         cache deny all\n\
         access_log none\n\
         cache_log {at}/log\n\
         pid_filename none\n\
         hosts_file {at}/hosts\n\
         netdb_filename none\n\
         coredump_dir none\n\
         shutdown_lifetime 0 seconds\n"
    )
}
