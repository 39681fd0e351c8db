//! Policies to start from, and the policy of a first try without a file.
//!
//! A template names the hosts that its agent's vendor documents for the agent itself, and never a package registry's:
//! what installing needs is the operator's to say.

use std::path::{Path, PathBuf};

use thiserror::Error;
use toml_edit::{Array, value};
use wardroom_model::AgentName;

use crate::diagnose::PolicyErrors;
use crate::edit::is_in_clear;
use crate::policy::Policy;

/// The templates, by name.
pub const TEMPLATES: [&str; 4] = ["claude-code", "codex", "open-interpreter", "shell"];

/// Why there is no policy for a first try.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HereError {
    /// A path that no policy can name.
    #[error("{0:?} is not UTF-8, and a policy is: work in another directory")]
    Path(PathBuf),
    /// What was asked for makes no valid policy.
    #[error("this makes no valid policy")]
    Policy(#[source] PolicyErrors),
}

/// A template's text for an agent of this name, with its workspace below the operator's home; `None` for an unknown
/// template.
#[must_use]
pub fn template(name: &str, agent: &AgentName) -> Option<String> {
    template_at(name, agent, &format!("~/work/{agent}"))
}

/// A template's text with another workspace: in system mode `~` means nothing. `None` for an unknown template.
#[must_use]
pub fn template_at(name: &str, agent: &AgentName, workspace: &str) -> Option<String> {
    let text = match name {
        "claude-code" => include_str!("../templates/claude-code.toml"),
        "codex" => include_str!("../templates/codex.toml"),
        "open-interpreter" => include_str!("../templates/open-interpreter.toml"),
        "shell" => include_str!("../templates/shell.toml"),
        _ => return None,
    };
    // The name first: a workspace may have the word in it.
    let named = text.replace("AGENT", agent.as_str());
    Some(named.replace(&format!("\"~/work/{agent}\""), &value(workspace).to_string()))
}

/// The policy of `run --here`: one directory, the hosts of the command line (`host` or `host:port`), limits that need no
/// control group.
///
/// # Errors
/// Arguments that make no valid policy: a whole home as workspace, a host that is none.
pub fn here_policy(
    agent: &AgentName,
    workspace: &Path,
    hosts: &[String],
    command: &[String],
) -> Result<String, HereError> {
    let directory = workspace.to_str().ok_or_else(|| HereError::Path(workspace.to_owned()))?;
    let words: Array = command.iter().collect();
    let command = if words.is_empty() { String::new() } else { format!("command = {}\n", value(words)) };
    let rules: String = hosts.iter().map(|host| rule(host)).collect();
    let (name, directory) = (value(agent.as_str()), value(directory));
    let text = format!(
        "# Made by `wardroom run --here`.\n\
         [agent]\nname = {name}\n{command}\n\
         [isolation]\nkind = \"cell\"\ntasks = 4096\nlimits = \"rlimits-only\"\n\n\
         [files]\nworkspace = {directory}\n{rules}"
    );
    Policy::parse("--here", &text).map_err(HereError::Policy)?;
    Ok(text)
}

/// A rule for `host` or `host:port`.
fn rule(host: &str) -> String {
    let port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
    match port {
        Some((name, port)) => {
            let tcp = if is_in_clear(port) { "protocol = \"tcp\"\n" } else { "" };
            format!("\n[[network.allow]]\nhost = {}\nports = [{port}]\n{tcp}", value(name))
        }
        None => format!("\n[[network.allow]]\nhost = {}\n", value(host)),
    }
}

#[cfg(test)]
mod tests;
