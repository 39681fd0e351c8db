//! Links the unwinder into the binary instead of loading it as a library: two tenths of a millisecond less for each of Wardroom's
//! processes to start. Where the C compiler has no static one, nothing changes.

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|environment| environment == "gnu");
    let own = env::var("TARGET") == env::var("HOST");
    if let (true, true, Some(out)) = (gnu, own, env::var_os("OUT_DIR"))
        && has_static_unwinder()
    {
        let out = Path::new(&out);
        // The standard library asks for the shared one by this name; for the linker it is a text that names another.
        fs::write(out.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
        println!("cargo::rustc-link-arg-bins=-L{}", out.display());
    }
    Ok(())
}

/// GCC says where the file is; where it has none, it repeats the name.
#[expect(clippy::disallowed_methods, reason = "a build has no spawner of its own")]
fn has_static_unwinder() -> bool {
    let asked = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output();
    asked.is_ok_and(|said| said.status.success() && said.stdout.starts_with(b"/"))
}
