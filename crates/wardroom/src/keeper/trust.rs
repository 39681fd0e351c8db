//! The files through which an agent's programs come to trust its authority: public, made anew at every start, outside
//! the cell, and seen inside read-only. They are made from the system's own and from nothing that an agent can write.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::Mode;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use wardroom_gate::Issued;
use wardroom_policy::plan::{BUNDLES, CERTUTIL, JAVA_STORES, Trust};
use wardroom_scribe::place::Place;

use super::java_store;

/// Longest bundle that is read: today's have some 220 KiB.
const LONGEST: u64 = 8 << 20;

/// Makes the files for one start.
pub(super) fn prepare(directory: &Path, root: &Path, issued: &Issued) -> anyhow::Result<Trust> {
    let place = Place::open_or_create(directory)?;
    let bundles = real(root, BUNDLES.iter().map(PathBuf::from));
    let system = match bundles.first() {
        Some(bundle) => read(&beneath(root, bundle))?,
        None => Vec::new(),
    };
    let java_stores = real(root, JAVA_STORES.iter().map(PathBuf::from).chain(of_each_jvm(root)));
    let java = if java_stores.is_empty() {
        None
    } else {
        let authorities = CertificateDer::pem_slice_iter(&system).filter_map(Result::ok);
        let own = std::iter::once(CertificateDer::from(issued.certificate.clone()));
        Some(write(&place, "cacerts", &java_store::encode(own.chain(authorities)))?)
    };
    let bundle = [&system, b"\n".as_slice(), issued.pem.as_bytes()].concat();
    Ok(Trust {
        authority: write(&place, "authority.pem", issued.pem.as_bytes())?,
        bundle: write(&place, "bundle.pem", &bundle)?,
        java,
        bundles,
        java_stores,
        certutil: beneath(root, Path::new(CERTUTIL)).is_file(),
    })
}

/// Which of these files of a system exist, with all links followed, each once, as paths of that system. One that leads out
/// of it is none of it.
fn real(root: &Path, candidates: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let Ok(root) = fs::canonicalize(root) else { return Vec::new() };
    let mut found: Vec<PathBuf> = Vec::new();
    for candidate in candidates {
        let Ok(real) = fs::canonicalize(beneath(&root, &candidate)) else { continue };
        let Ok(inside) = real.strip_prefix(&root) else { continue };
        let inside = Path::new("/").join(inside);
        if real.is_file() && !found.contains(&inside) {
            found.push(inside);
        }
    }
    found
}

/// The stores in the homes of installed JVMs.
fn of_each_jvm(root: &Path) -> impl Iterator<Item = PathBuf> {
    let homes = fs::read_dir(root.join("usr/lib/jvm")).into_iter().flatten().flatten();
    let names = homes.map(|home| home.file_name());
    names.map(|name| Path::new("/usr/lib/jvm").join(name).join("lib/security/cacerts"))
}

fn beneath(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(File::open(path)?, LONGEST), &mut bytes)?;
        Ok(bytes)
    };
    read().with_context(|| format!("cannot read {}, the system's certificate authorities", path.display()))
}

/// Readable by everybody: the agent's programs are other users than we are, in system mode.
fn write(place: &Place, name: &str, contents: &[u8]) -> anyhow::Result<PathBuf> {
    let beside = format!("{name}.new");
    place.remove(&beside)?;
    let mut file = place.fresh(&beside)?;
    file.write_all(contents)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    place.rename(&beside, name)?;
    Ok(place.path().join(name))
}
