//! The placeholders of one start: what the agent holds in its credentials' stead, and the tag that all placeholders of this
//! host share. No value of a credential is ever here.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use wardroom_gate::placeholder::{Shape, Tag, make, variables};
use wardroom_model::exit::Exit;
use wardroom_policy::Policy;

use super::state::{nofollow, random};
use crate::failure::{Failure, OrExit};
use crate::places::Places;

/// What the gate recognises, and what the agent sees.
#[derive(Debug)]
pub(super) struct Placeholders {
    /// The host's tag. A gate knows it even where its agent has no credential: another agent's placeholder is refused.
    pub(super) tag: String,
    /// Each credential's name and placeholder.
    pub(super) given: Vec<(String, String)>,
    /// The variables of the agent's environment.
    pub(super) environment: Vec<(String, String)>,
}

/// Makes new placeholders for every credential of a policy.
pub(super) fn prepare(places: &Places, policy: &Policy) -> Result<Placeholders, Failure> {
    let tag = tag(&places.placeholder_tag()).or_exit(Exit::CannotContain)?;
    let (mut given, mut environment) = (Vec::new(), Vec::new());
    for credential in policy.credentials() {
        let shape = Shape::of(&credential.env, &credential.host, credential.kind);
        let placeholder = make(shape, &tag, &random().or_exit(Exit::Internal)?);
        environment.extend(variables(&credential.env, credential.kind, &tag, &placeholder));
        given.push((credential.name.clone(), placeholder));
    }
    Ok(Placeholders { tag: tag.as_str().to_owned(), given, environment })
}

/// The tag of this host, made once. Two first starts at once agree on one by the file's lock.
fn tag(path: &Path) -> anyhow::Result<Tag> {
    let shown = path.display();
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600).custom_flags(nofollow());
    let mut file = options.open(path).with_context(|| format!("cannot open {shown}"))?;
    file.lock().with_context(|| format!("cannot lock {shown}"))?;
    let mut text = String::new();
    // More than a tag is none, so that nothing long is ever read.
    let most = u64::try_from(Tag::LENGTH)? + 2;
    (&file).take(most).read_to_string(&mut text).with_context(|| format!("cannot read {shown}"))?;
    if text.is_empty() {
        let tag = Tag::new(&random()?);
        keep(&mut file, &tag).with_context(|| format!("cannot write {shown}"))?;
        return Ok(tag);
    }
    Tag::parse(text.trim_end()).with_context(|| {
        format!("{shown} holds no tag of placeholders; remove it while no agent runs, and another is made")
    })
}

fn keep(file: &mut File, tag: &Tag) -> std::io::Result<()> {
    writeln!(file, "{}", tag.as_str())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
[agent]
name = "scout"
[isolation]
kind = "cell"
[[network.allow]]
host = "api.anthropic.com"
[[credential]]
env    = "ANTHROPIC_API_KEY"
host   = "api.anthropic.com"
header = "x-api-key"
"#;

    #[test]
    fn every_start_has_placeholders_of_its_own_and_the_host_s_tag() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("state")).unwrap();
        let places = Places::find(Some(base.path())).unwrap();
        let policy = Policy::parse("scout.toml", POLICY).unwrap();
        let (one, two) = (prepare(&places, &policy).unwrap(), prepare(&places, &policy).unwrap());
        assert_eq!(one.tag, two.tag);
        assert_ne!(one.given, two.given);
        let [(variable, value)] = one.environment.as_slice() else { panic!("one variable") };
        assert!(variable == "ANTHROPIC_API_KEY" && value.starts_with("sk-ant-") && value.contains(&one.tag));
    }

    #[test]
    fn a_damaged_tag_is_an_error_that_says_what_to_do() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("tag");
        std::fs::write(&path, "not a tag at all").unwrap();
        assert!(tag(&path).unwrap_err().to_string().contains("remove it"));
    }
}
