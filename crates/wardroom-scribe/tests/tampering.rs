//! Attack L1: whatever is changed in a ledger is found, and located.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::string_slice,
    clippy::as_conversions,
    reason = "a test may fail loudly"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{copy, files, verifier, written};
use wardroom_ledger::{Checkpoint, Fault, FaultKind, Finding, Signer, Verifier, frame, tree};
use wardroom_scribe::{export, verify};

/// A ledger of a few segments, and fresh copies of it to do harm to.
struct Original {
    base: tempfile::TempDir,
    verifier: Verifier,
}

impl Original {
    fn of(count: u64) -> Self {
        let base = tempfile::tempdir().unwrap();
        written(base.path(), count, 12_000);
        let verifier = verifier(base.path());
        // An export holds no ring and no hint: every file left in it is part of the evidence.
        export(&base.path().join("ledger"), &verifier, &base.path().join("export")).unwrap();
        let original = Self { base, verifier };
        let hashes: Vec<String> =
            files(&original.dir("ledger")).into_iter().filter(|name| name.starts_with("hashes-")).collect();
        for name in hashes {
            fs::copy(original.dir("ledger").join(&name), original.dir("export").join(&name)).unwrap();
        }
        fs::remove_dir_all(original.dir("export").join("tile")).unwrap();
        original
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    fn copy(&self) -> PathBuf {
        let to = self.dir("copy");
        if to.exists() {
            fs::remove_dir_all(&to).unwrap();
        }
        copy(&self.dir("export"), &to);
        to
    }

    fn find(&self, dir: &Path) -> Finding {
        verify(dir, &self.verifier, None).unwrap().finding
    }

    fn fault(&self, dir: &Path) -> Fault {
        match self.find(dir) {
            Finding::Tampered(fault) => fault,
            other => panic!("not found: {other:?}"),
        }
    }
}

fn plain_segments(dir: &Path) -> Vec<String> {
    files(dir).into_iter().filter(|name| name.contains(".seg")).collect()
}

/// The frames of a plain segment.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut out) = (bytes, Vec::new());
    while let Ok(found) = frame::read(rest) {
        out.push(found.bytes.to_vec());
        rest = &rest[found.bytes.len()..];
    }
    out
}

/// Changes a payload byte of a frame and makes its checksum right again, as an attacker would.
fn forge(frame: &[u8]) -> Vec<u8> {
    let read = frame::read(frame).unwrap();
    let mut payload = read.payload.to_vec();
    let last = payload.len() - 1;
    payload[last] ^= 1;
    let mut forged = Vec::new();
    frame::write(&read.head, &payload, &mut forged).unwrap();
    forged
}

#[test]
fn any_flipped_bit_of_any_file_is_found() {
    let original = Original::of(400);
    assert_eq!(original.find(&original.copy()), Finding::Intact);
    let dir = original.copy();
    let mut tried = 0;
    for name in files(&dir).into_iter().filter(|name| name != "vkey") {
        let whole = fs::read(dir.join(&name)).unwrap();
        // Every byte of the small files, a spread of the large ones; a step meets every field of a frame.
        let step = (whole.len() / 29).max(1);
        for at in (0..whole.len()).step_by(step) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(dir.join(&name), &changed).unwrap();
            assert_ne!(original.find(&dir), Finding::Intact, "{name} {at}");
            let fault = original.fault(&dir);
            if name.ends_with(".seg") {
                assert!(
                    fault.file == name && fault.offset.is_some_and(|offset| offset <= at as u64),
                    "{name} {at}: {fault}"
                );
            }
            tried += 1;
        }
        fs::write(dir.join(&name), &whole).unwrap();
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn an_export_has_an_index_for_sealed_segments_only() {
    let original = Original::of(400);
    let ledger = original.dir("ledger");
    let sealed = || files(&ledger).into_iter().find(|name| name.ends_with(".seg.lz4"));
    while sealed().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // As it is while a segment is being sealed: the index is there, the plain file as well.
    let name = sealed().unwrap();
    let first = name.strip_suffix(".seg.lz4").unwrap();
    fs::write(ledger.join(format!("{first}.seg")), unsealed(&fs::read(ledger.join(&name)).unwrap())).unwrap();
    fs::remove_file(ledger.join(&name)).unwrap();
    assert!(ledger.join(format!("{first}.idx")).exists());
    let export = original.dir("another");
    wardroom_scribe::export(&ledger, &original.verifier, &export).unwrap();
    assert_eq!(original.find(&export), Finding::Intact);
    assert!(export.join(format!("{first}.seg")).exists() && !export.join(format!("{first}.idx")).exists());
}

/// The frames of a sealed segment: blocks, each with its two lengths and a check sum before it.
fn unsealed(mut sealed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !sealed.is_empty() {
        let length = |at: usize| u32::from_le_bytes(sealed[at..at + 4].try_into().unwrap()) as usize;
        let (full, stored) = (length(0), length(4));
        plain.extend(lz4_flex::block::decompress(&sealed[12..12 + stored], full).unwrap());
        sealed = &sealed[12 + stored..];
    }
    plain
}

#[test]
fn a_record_changed_with_its_checksum_is_located_exactly() {
    let original = Original::of(400);
    let dir = original.copy();
    let name = plain_segments(&dir).into_iter().find(|name| name.ends_with(".seg")).unwrap();
    let mut all = frames(&fs::read(dir.join(&name)).unwrap());
    let sequence = frame::read(&all[7]).unwrap().head.sequence;
    let offset: usize = all[..7].iter().map(Vec::len).sum();
    all[7] = forge(&all[7]);
    fs::write(dir.join(&name), all.concat()).unwrap();
    let fault = original.fault(&dir);
    assert_eq!((fault.file, fault.sequence, fault.offset), (name, Some(sequence), Some(offset as u64)));
    assert_eq!(fault.what, FaultKind::Changed);
}

#[test]
fn a_record_changed_with_all_its_hashes_is_located_between_two_checkpoints() {
    let original = Original::of(400);
    let dir = original.copy();
    let name = plain_segments(&dir).into_iter().find(|name| name.ends_with(".seg")).unwrap();
    let mut all = frames(&fs::read(dir.join(&name)).unwrap());
    let sequence = frame::read(&all[7]).unwrap().head.sequence;
    all[7] = forge(&all[7]);
    let mut hashes = fs::read(dir.join("hashes-0")).unwrap();
    let at = usize::try_from(sequence).unwrap() * 32;
    hashes[at..at + 32].copy_from_slice(&tree::leaf(&all[7]).0);
    fs::write(dir.join("hashes-0"), hashes).unwrap();
    for level in files(&dir).into_iter().filter(|name| name.starts_with("hashes-") && name != "hashes-0") {
        fs::remove_file(dir.join(level)).unwrap();
    }
    fs::write(dir.join(&name), all.concat()).unwrap();
    let FaultKind::Root { from, to } = original.fault(&dir).what else { panic!("a root that differs") };
    assert!(from <= sequence && sequence < to, "{from} {sequence} {to}");
}

#[test]
fn records_removed_inserted_swapped_or_copied_are_located() {
    let original = Original::of(400);
    let harm: [fn(&mut Vec<Vec<u8>>); 5] = [
        |all| drop(all.remove(5)),
        |all| all.insert(5, all[9].clone()),
        |all| all.swap(5, 6),
        |all| all[5] = all[9].clone(),
        |all| all.push(all[5].clone()),
    ];
    for (number, harm) in harm.into_iter().enumerate() {
        let dir = original.copy();
        let name = plain_segments(&dir).into_iter().rfind(|name| name.ends_with(".seg")).unwrap();
        let mut all = frames(&fs::read(dir.join(&name)).unwrap());
        let first = frame::read(&all[0]).unwrap().head.sequence;
        let expected = if number == 4 { first + all.len() as u64 } else { first + 5 };
        harm(&mut all);
        fs::write(dir.join(&name), all.concat()).unwrap();
        let fault = original.fault(&dir);
        assert_eq!((fault.file, fault.sequence), (name, Some(expected)), "{number}");
    }
}

#[test]
fn segments_removed_shortened_or_replaced_are_located() {
    let original = Original::of(400);
    let names = plain_segments(&original.copy());
    assert!(names.len() >= 3, "{names:?}");
    let dir = original.copy();
    fs::remove_file(dir.join(&names[1])).unwrap();
    let fault = original.fault(&dir);
    assert_eq!((&fault.what, &fault.file[..20]), (&FaultKind::Missing, &names[1][..20]));
    let dir = original.copy();
    fs::copy(dir.join(&names[0]), dir.join(&names[1])).unwrap();
    assert_eq!(&original.fault(&dir).file[..20], &names[1][..20]);
    // The end is missing: cut at a record, in a record, or with its whole segment.
    let last = names.last().unwrap();
    let bytes = fs::read(original.copy().join(last)).unwrap();
    let all = frames(&bytes);
    let size = frame::read(all.last().unwrap()).unwrap().head.sequence + 1;
    let cut_at = bytes.len() - all.last().unwrap().len();
    for length in [cut_at, cut_at + 10] {
        let dir = original.copy();
        fs::write(dir.join(last), &bytes[..length]).unwrap();
        assert_eq!(original.find(&dir), Finding::Truncated { found: size - 1, covered: size }, "{length}");
    }
    let dir = original.copy();
    fs::remove_file(dir.join(last)).unwrap();
    assert!(matches!(original.find(&dir), Finding::Truncated { covered, .. } if covered == size));
}

#[test]
fn an_older_copy_is_stale_and_another_history_is_tampered_given_a_checkpoint_kept_elsewhere() {
    let original = Original::of(100);
    let ledger = original.dir("ledger");
    let older = original.dir("older");
    copy(&ledger, &older);
    written(original.base.path(), 50, 12_000);
    let kept = export(&ledger, &original.verifier, &original.dir("export2")).unwrap();
    let found = verify(&older, &original.verifier, Some(&kept)).unwrap().finding;
    assert!(matches!(found, Finding::Stale { kept: size, .. } if size == kept.size), "{found:?}");
    assert_eq!(original.find(&older), Finding::Intact);
    let other = Checkpoint { root: tree::leaf(b"other"), size: 40, ..kept };
    let found = verify(&ledger, &original.verifier, Some(&other)).unwrap().finding;
    assert!(matches!(found, Finding::Tampered(Fault { what: FaultKind::OtherHistory, .. })), "{found:?}");
    // Another key signed it: not this host's ledger.
    let stranger = Signer::from_seed(common::ORIGIN, &[9; 32]).unwrap().verifier();
    let found = verify(&ledger, &stranger, None).unwrap().finding;
    assert!(matches!(found, Finding::Tampered(Fault { what: FaultKind::Note(_), .. })), "{found:?}");
}

#[test]
fn a_tail_that_is_not_signed_yet_is_told_from_damage() {
    let original = Original::of(100);
    let dir = original.copy();
    let last = plain_segments(&dir).pop().unwrap();
    let mut bytes = fs::read(dir.join(&last)).unwrap();
    let all = frames(&bytes);
    let read = frame::read(all.last().unwrap()).unwrap();
    let mut next = read.head;
    next.sequence += 1;
    frame::write(&next, read.payload, &mut bytes).unwrap();
    bytes.extend_from_slice(&all[0][..20]);
    fs::write(dir.join(&last), bytes).unwrap();
    assert_eq!(original.find(&dir), Finding::IncompleteTail { unsigned: 1, broken: 20 });
}
