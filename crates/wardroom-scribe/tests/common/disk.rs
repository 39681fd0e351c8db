//! What a disk has of the files that a scribe writes: what was synced for sure, and of the rest what it likes. Sectors of 512
//! bytes are whole or not there; names change in their order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::asked::Asked;

const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// Where a ring says in which life of the machine it was made.
const BOOT: usize = 24;
const RING: &str = "ring-keeper";

/// A disk's journal of a directory.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    directory: PathBuf,
    files: Vec<File>,
    names: Vec<Change>,
    /// Changes of names that are on disk.
    settled: usize,
    /// What the names mean to whoever asks now.
    now: BTreeMap<String, usize>,
    /// Numbered records that a signed checkpoint speaks of.
    pub(crate) promised: u64,
    /// Whether anything was signed since the scribe began.
    pub(crate) signed: bool,
    /// Numbered records that were written.
    pub(crate) written: u64,
    /// The ring as it is now and as it was before: of each page of it, the disk may have either.
    rings: [Vec<u8>; 2],
}

#[derive(Debug, Clone, Default)]
struct File {
    synced: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Change {
    Made(String, usize),
    Renamed(String, String),
    Removed(String),
}

impl File {
    fn sync(&mut self) {
        for (at, bytes) in std::mem::take(&mut self.pending) {
            put(&mut self.synced, at, &bytes);
        }
    }

    fn whole(&self) -> Vec<u8> {
        let mut whole = self.clone();
        whole.sync();
        whole.synced
    }

    /// Of every sector that was written since the last sync, the old or the new one, or any in between.
    fn torn(&self) -> Vec<u8> {
        let mut torn = self.synced.clone();
        for (at, bytes) in &self.pending {
            let mut from = 0;
            while from < bytes.len() {
                let to = bytes.len().min((at + from) / SECTOR * SECTOR + SECTOR - at);
                if coin() {
                    put(&mut torn, at + from, &bytes[from..to]);
                }
                from = to;
            }
        }
        torn
    }
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

fn coin() -> bool {
    getrandom::u64().unwrap().is_multiple_of(2)
}

impl Disk {
    pub(crate) fn new(directory: PathBuf) -> Self {
        let (files, names, now) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self {
            directory,
            files,
            names,
            settled: 0,
            now,
            promised: 0,
            signed: false,
            written: 0,
            rings: [Vec::new(), Vec::new()],
        }
    }

    /// What there is of it if the power goes now.
    pub(crate) fn cut(&mut self) -> Self {
        self.rings.swap(0, 1);
        self.rings[1] = std::fs::read(self.directory.join(RING)).unwrap();
        self.clone()
    }

    /// A call that is about to be made, and succeeds.
    pub(crate) fn note(&mut self, asked: &Asked) {
        match asked.call {
            "openat" => self.open(&asked.name(1), asked.argument(2)),
            "pwrite64" => self.write(asked, usize::try_from(asked.argument(3)).unwrap()),
            "write" => self.write(asked, usize::try_from(asked.position()).unwrap()),
            "fsync" if asked.file() == self.directory => self.settled = self.names.len(),
            "fdatasync" | "fsync" => self.sync(asked),
            "renameat" => self.rename(asked.name(1), asked.name(3)),
            "unlinkat" => {
                let name = asked.name(1);
                self.now.remove(&name);
                self.names.push(Change::Removed(name));
            }
            _ => {}
        }
    }

    fn open(&mut self, name: &str, flags: u64) {
        const CREATE: u64 = 0o100;
        let ours = !name.contains('/') && !name.starts_with("ring-");
        if ours && flags & CREATE != 0 && !self.now.contains_key(name) {
            self.files.push(File::default());
            self.now.insert(name.to_owned(), self.files.len() - 1);
            self.names.push(Change::Made(name.to_owned(), self.files.len() - 1));
        }
    }

    fn of(&self, asked: &Asked) -> Option<(String, usize)> {
        let path = asked.file();
        let name = path.strip_prefix(&self.directory).ok()?.to_str()?.to_owned();
        let file = *self.now.get(&name)?;
        Some((name, file))
    }

    fn write(&mut self, asked: &Asked, at: usize) {
        let Some((name, file)) = self.of(asked) else { return };
        let data = asked.data();
        if name.ends_with(".seg") {
            self.written += numbered(&data);
        }
        self.files[file].pending.push((at, data));
    }

    fn sync(&mut self, asked: &Asked) {
        let Some((_, file)) = self.of(asked) else { return };
        self.files[file].sync();
        // A file that is on disk has a name there, and what was named before has it too.
        let made =
            self.names.iter().position(|change| matches!(change, Change::Made(_, made) if *made == file));
        self.settled = self.settled.max(made.map_or(0, |at| at + 1));
    }

    fn rename(&mut self, from: String, to: String) {
        let Some(file) = self.now.remove(&from) else { return };
        if to == "checkpoint" {
            // All that is written by now is what it covers: nothing is written between the sync and this.
            self.promised = self.written;
            self.signed = true;
        }
        self.now.insert(to.clone(), file);
        self.names.push(Change::Renamed(from, to));
    }

    /// Makes the directory as a power cut can leave it.
    pub(crate) fn leave(&self, at: &Path) {
        let free = u64::try_from(self.names.len() - self.settled).unwrap() + 1;
        let kept = self.settled + usize::try_from(getrandom::u64().unwrap() % free).unwrap();
        let mut names = BTreeMap::new();
        for change in &self.names[..kept] {
            match change {
                Change::Made(name, file) => drop(names.insert(name, *file)),
                Change::Renamed(from, to) => {
                    let file = names.remove(from).unwrap();
                    names.insert(to, file);
                }
                Change::Removed(name) => drop(names.remove(name)),
            }
        }
        std::fs::create_dir(at).unwrap();
        rustix::fs::chmod(at, rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
        for (name, file) in names {
            let file = &self.files[file];
            std::fs::write(at.join(name), if coin() { file.torn() } else { file.whole() }).unwrap();
        }
        let [before, mut ring] = self.rings.clone();
        for (new, old) in ring.chunks_mut(PAGE).zip(before.chunks(PAGE)) {
            if coin() {
                new.copy_from_slice(old);
            }
        }
        if !ring.is_empty() {
            // The machine has been started again.
            ring[BOOT..BOOT + 8].fill(7);
            std::fs::write(at.join(RING), ring).unwrap();
        }
    }
}

/// Records of the test in these frames: each says once that it is the test's.
fn numbered(frames: &[u8]) -> u64 {
    u64::try_from(frames.windows(4).filter(|word| word == b"test").count()).unwrap()
}
