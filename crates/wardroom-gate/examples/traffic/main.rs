//! A web server and its clients, for `cargo xtask bench gate`: the same program on both ends of what is measured.
//!
//! Client and server are hyper over rustls, as a program of today is; what lies between is made of the same libraries. For a
//! request at its barest (`bare-…`), both send fixed bytes over TLS and parse nothing: a load that no program is, so that what
//! lies between shows at its worst.
//!
//! `traffic serve CA-FILE NAME...` writes its certificate authority, says its ports (HTTPS, bare TLS, plain), and serves until
//! its standard input ends. `traffic load KIND COUNT PARALLEL NAME ADDRESS CA-FILE` says `ready`, waits for a line, works, and says
//! its number; it keeps its connections until its standard input ends. An ADDRESS of two parts, `PROXY/HOST:PORT`, is asked
//! of the proxy with `CONNECT`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement fails by panicking"
)]
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures time and tells it")]

mod client;
mod load;
mod server;

use std::io::{self, BufRead, Write};
use std::rc::Rc;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::task::LocalSet;

use crate::client::Target;

fn main() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
    match words.as_slice() {
        ["serve", ca, names @ ..] => LocalSet::new().block_on(&runtime, server::serve(ca, names)),
        ["load", kind, count, parallel, name, address, ca] => {
            let target = Rc::new(Target::new(name, address, ca));
            let (count, parallel) = (count.parse().unwrap(), parallel.parse().unwrap());
            LocalSet::new().block_on(&runtime, load::load(kind, count, parallel, target));
        }
        _ => say("serve CA-FILE NAME... | load KIND COUNT PARALLEL NAME ADDRESS CA-FILE"),
    }
}

/// Waits for the next line, or the end, of the standard input.
async fn until_told() {
    // A thread of its own, because the loop must turn meanwhile.
    let (done, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        io::stdin().lock().read_line(&mut String::new()).unwrap();
        done.send(()).unwrap_or_default();
    });
    told.await.unwrap();
}

fn say(text: &str) {
    println!("{text}");
    io::stdout().flush().unwrap();
}
