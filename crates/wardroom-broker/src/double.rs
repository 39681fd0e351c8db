//! A double of a server for the tests: it answers in turn, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a double was asked: `METHOD path`, the head, the body.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A double of a server, which answers in turn.
pub(crate) struct Double {
    pub(crate) base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Double {
    pub(crate) fn answering(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<_> = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for ((status, body), stream) in answers.into_iter().zip(listener.incoming()) {
                let mut stream = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
                let find = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok();
                let mut sent = vec![0; head.lines().find_map(find).unwrap_or(0)];
                stream.read_exact(&mut sent).unwrap();
                let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                seen.lock().unwrap().push(Asked { line, head, body: String::from_utf8(sent).unwrap() });
                let length = body.len();
                let stream = stream.get_mut();
                write!(
                    stream,
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                )
                .unwrap();
            }
        });
        Self { base, asked }
    }

    /// While this is held, it takes a question and does not answer.
    pub(crate) fn hold(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap()
    }

    pub(crate) fn asked(&self, number: usize) -> Asked {
        self.asked.lock().unwrap()[number].clone()
    }

    /// The bodies of all that was asked at a path.
    pub(crate) fn bodies(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let there = asked.iter().filter(|asked| asked.line.ends_with(path));
        there.map(|asked| asked.body.clone()).collect()
    }
}
