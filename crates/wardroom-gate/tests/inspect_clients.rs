//! The programs that agents use, as they are, against inspected hosts: they trust the agent's authority, and notice nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unreachable,
    reason = "a test looks for one kind of record"
)]
#![expect(clippy::indexing_slicing, clippy::print_stderr, reason = "a test's helpers fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "the tests make a repository")]
#![expect(unreachable_pub, reason = "the bench is shared between test files")]

mod support;
mod web;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

use support::Bench;
use web::{HOST, Web, ended};

#[test]
#[ignore = "the inside of the other tests"]
fn cell() {
    support::be_the_cell();
}

const RULE: &str = "methods = [\"GET\", \"POST\"]\npaths = [\"/v1/**\", \"/repository.git/**\"]";

/// The authority's certificate as a file, for programs that are told where it is.
fn trusted(bench: &Bench) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bench.authority).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

/// Runs a program inside, and returns what it said. None, said aloud, where it is not installed.
fn run(bench: &Bench, program: &str, arguments: &[&str]) -> Option<String> {
    let output = bench.run(program, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("nsenter: failed to execute") || said.contains("No such file or directory") {
        eprintln!("SKIPPED: {program}: cannot be run inside: {said}");
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &said)
}

#[test]
fn curl_over_both_versions_and_a_refusal_that_it_can_read() {
    let web = Web::hello();
    let Some(mut bench) = web.bench("curl", RULE) else { return };
    let (_file, ca) = trusted(&bench);
    let curl = |more: &[&str], path: &str| {
        let url = format!("https://{HOST}{path}");
        let usual = ["-sS", "--max-time", "5", "--cacert", &ca, "-w", " %{http_code} %{http_version}", &url];
        run(&bench, "curl", &[more, &usual].concat())
    };
    let Some(said) = curl(&["--http1.1"], "/v1/one") else { return };
    assert_eq!(said, "hello 200 1.1");
    assert_eq!(curl(&["--http2"], "/v1/two").unwrap(), "hello 200 2");
    assert_eq!(curl(&["--http2-prior-knowledge"], "/v1/prior").unwrap(), "hello 200 2");
    assert_eq!(curl(&["-d", "x=1"], "/v1/post").unwrap(), "hello 200 2");
    let refused = curl(&[], "/admin").unwrap();
    assert!(refused.contains("\"wardroom_refused\"") && refused.ends_with(" 403 2"), "{refused}");
    for path in ["/v1/one", "/v1/two", "/v1/prior", "/v1/post"] {
        assert_eq!(ended(&mut bench, path).status, Some(200));
    }
}

#[test]
fn large_bodies_and_many_small_frames_of_real_clients_are_no_flood() {
    // A megabyte that arrives in parts of a hundred bytes, each of which a client may answer with windows.
    let web = Web::answering(|_| {
        let part = [b"64\r\n".as_slice(), &[b'x'; 100], b"\r\n"].concat();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        [head, part.repeat(10_000), b"0\r\n\r\n".to_vec()].concat()
    });
    let Some(mut bench) = web.bench("large", RULE) else { return };
    let (file, ca) = trusted(&bench);
    let upload = file.path().with_extension("upload");
    std::fs::write(&upload, vec![b'y'; 16 << 20]).unwrap();
    let sent = format!("@{}", upload.display());
    let url = format!("https://{HOST}/v1/large");
    let usual = ["-sS", "--http2", "--max-time", "60", "--cacert", &ca, "-o", "/dev/null"];
    let more = ["-H", "Content-Type: x", "--data-binary", &sent, "-w", "%{http_code} %{size_download}", &url];
    let said = run(&bench, "curl", &[&usual[..], &more].concat());
    std::fs::remove_file(&upload).unwrap();
    let Some(said) = said else { return };
    assert_eq!(said, "200 1000000");
    assert_eq!(ended(&mut bench, "/v1/large").sent, 16 << 20);
    // Ten thousand parts up and as many down over one connection, with a ping after every tenth part.
    let script = format!(
        "const http2 = require('http2'), c = http2.connect('https://{HOST}');\n\
         c.on('error', e => {{ console.log('connection', e); process.exit(1); }});\n\
         const r = c.request({{ ':method': 'POST', ':path': '/v1/small', 'content-length': 10000 }});\n\
         let n = 0, got = 0;\n\
         const more = () => {{ if (n === 10000) return r.end(); if (n++ % 10 === 0) c.ping(() => {{}}); r.write('z', more); }};\n\
         more();\n\
         r.on('data', d => got += d.length).on('error', e => {{ console.log(e); process.exit(1); }});\n\
         r.on('end', () => {{ console.log(got); c.close(); }});"
    );
    let extra = format!("NODE_EXTRA_CA_CERTS={ca}");
    let Some(said) = run(&bench, "env", &[&extra, "timeout", "60", "node", "-e", &script]) else { return };
    if said.contains("not found") || said.contains("No such file") {
        eprintln!("SKIPPED: node: {said}");
        return;
    }
    assert_eq!(said, "1000000\n");
}

#[test]
fn python_s_urllib() {
    let web = Web::hello();
    let Some(bench) = web.bench("python", RULE) else { return };
    let (_file, ca) = trusted(&bench);
    let script = format!(
        "import ssl, urllib.request as u, urllib.error as e\n\
         c = ssl.create_default_context(cafile='{ca}')\n\
         print(u.urlopen('https://{HOST}/v1/x', context=c).read().decode())\n\
         try: u.urlopen('https://{HOST}/admin', context=c)\n\
         except e.HTTPError as refused: print(refused.code, refused.headers['Wardroom-Refused'])"
    );
    let Some(said) = run(&bench, "python3", &["-c", &script]) else { return };
    assert_eq!(said, "hello\n403 1\n");
}

#[test]
fn node_s_fetch_and_websocket() {
    let web = Web::each(&[b"http/1.1"], |mut tls, say| {
        let Some(head) = web::read_head(&mut tls) else { return };
        let key = web::header(&head, "sec-websocket-key").map(ToOwned::to_owned);
        drop(say.send(head));
        let Some(key) = key else {
            drop(
                tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                    .and_then(|()| tls.flush()),
            );
            return drop(tls.read(&mut [0]));
        };
        let accept = Command::new("node")
            .args(["-p", "require('crypto').createHash('sha1').update(process.argv[1]+'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')", &key])
            .output()
            .unwrap();
        let accept = String::from_utf8(accept.stdout).unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            accept.trim()
        );
        // A text frame of two bytes: 0x81 0x02 "hi".
        let frame = [answer.as_bytes(), &[0x81, 2], b"hi"].concat();
        drop(tls.write_all(&frame).and_then(|()| tls.flush()));
        drop(tls.read(&mut [0; 64]));
    });
    let Some(bench) = web.bench("node", RULE) else { return };
    let (_file, ca) = trusted(&bench);
    let script = format!(
        "const https = require('https'), fs = require('fs');\n\
         fetch('https://{HOST}/v1/x').then(r => r.text()).then(t => {{\n\
           console.log(t);\n\
           return fetch('https://{HOST}/admin');\n\
         }}).then(r => r.json().then(j => console.log(r.status, j.error.type))).then(() => {{\n\
           if (typeof WebSocket === 'undefined') {{ console.log('none'); process.exit(0); }}\n\
           const ws = new WebSocket('wss://{HOST}/v1/ws');\n\
           ws.onmessage = m => {{ console.log(m.data); process.exit(0); }};\n\
           ws.onerror = e => {{ console.log(e.message || 'error'); process.exit(1); }};\n\
         }}).catch(e => {{ console.log(e.cause || e); process.exit(1); }});"
    );
    let extra = format!("NODE_EXTRA_CA_CERTS={ca}");
    let Some(said) =
        run(&bench, "env", &[&extra, "timeout", "20", "node", "--experimental-websocket", "-e", &script])
    else {
        return;
    };
    if said.contains("not found") || said.contains("No such file") {
        eprintln!("SKIPPED: node: {said}");
        return;
    }
    assert!(said.starts_with("hello\n403 wardroom_refused\n"), "{said}");
    if said.ends_with("none\n") {
        eprintln!("SKIPPED: node's WebSocket: this version has none");
        return;
    }
    assert!(said.ends_with("hi\n"), "{said}");
}

#[test]
fn git_over_https() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("repository.git");
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        let output =
            Command::new("git").args(identity).args(arguments).current_dir(directory.path()).output();
        output.is_ok_and(|output| output.status.success())
    };
    let path = at.to_str().unwrap();
    let made = git(&["init", "-q", "work"])
        && git(&["-C", "work", "commit", "-q", "--allow-empty", "-m", "first"])
        && git(&["clone", "-q", "--bare", "work", path])
        && git(&["-C", path, "update-server-info"]);
    if !made {
        eprintln!("SKIPPED: git: no repository could be made");
        return;
    }
    let root: PathBuf = directory.path().to_owned();
    let web = Web::answering(move |head| {
        let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
        match std::fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(file) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
                [head.into_bytes(), file].concat()
            }
            Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        }
    });
    let Some(bench) = web.bench("git", RULE) else { return };
    let (_file, ca) = trusted(&bench);
    let to = directory.path().join("cloned");
    let url = format!("https://{HOST}/repository.git");
    let extra = format!("GIT_SSL_CAINFO={ca}");
    let Some(said) = run(&bench, "env", &[&extra, "git", "clone", &url, to.to_str().unwrap()]) else {
        return;
    };
    assert!(to.join(".git/HEAD").exists(), "{said}");
    let url = format!("https://{HOST}/other.git");
    let said = run(&bench, "env", &[&extra, "git", "ls-remote", &url]).unwrap();
    assert!(said.contains("403"), "{said}");
}
