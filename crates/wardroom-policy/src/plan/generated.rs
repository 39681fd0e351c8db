//! The files of `/etc` that are made for a cell and say nothing about the host.

use std::path::Path;

use wardroom_model::AgentName;
use wardroom_model::plan::{AGENT_ID, Mount};

use super::HOME;
use super::environment::shell;
use super::facts::HostFacts;

pub(crate) fn files(agent: &AgentName, facts: &HostFacts) -> Vec<Mount> {
    let shell = shell(facts);
    let passwd = format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\n\
         agent:x:{AGENT_ID}:{AGENT_ID}:{agent}:{HOME}:{shell}\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    // tty is the group of pseudo-terminals on every distribution that has one.
    let group = format!("root:x:0:\ntty:x:5:\nagent:x:{AGENT_ID}:\nnogroup:x:65534:\n");
    let hosts = format!("127.0.0.1 localhost {agent}\n::1 localhost ip6-localhost ip6-loopback\n");
    vec![
        file("/etc/passwd", passwd),
        file("/etc/group", group),
        file("/etc/hosts", hosts),
        file("/etc/hostname", format!("{agent}\n")),
        file("/etc/resolv.conf", RESOLV_CONF.to_owned()),
        file("/etc/nsswitch.conf", NSSWITCH_CONF.to_owned()),
    ]
}

/// Whether a path is one of these files.
pub(crate) fn is_generated(path: &Path) -> bool {
    let names = ["passwd", "group", "hosts", "hostname", "resolv.conf", "nsswitch.conf"];
    path.strip_prefix("/etc").is_ok_and(|name| names.iter().any(|generated| Path::new(generated) == name))
}

fn file(target: &str, contents: String) -> Mount {
    Mount::File { target: target.into(), contents: contents.into_bytes(), mode: 0o644 }
}

/// Every DNS query is redirected to the gate whatever its address; this one is what programs show. No search domains:
/// a name is asked as it was written. One attempt: the gate answers at once.
const RESOLV_CONF: &str = "nameserver 127.0.0.53\noptions ndots:1 timeout:5 attempts:2\n";

/// Files and DNS alone: no service of the host's (systemd's, mDNS, LDAP) is asked.
const NSSWITCH_CONF: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
                             protocols: files\nservices: files\nrpc: files\n";
