//! Policies to start from, and the policy of a first try without a file.
//!
//! A template names the hosts that its agent's vendor documents for the agent itself, and never a package registry's:
//! what installing needs is the operator's to say.

use toml_edit::{Array, value};
use wardroom_model::AgentName;

/// The templates, by name, with one line about each.
pub const TEMPLATES: [(&str, &str); 4] = [
    ("claude-code", "Anthropic's Claude Code"),
    ("codex", "OpenAI's Codex CLI"),
    ("open-interpreter", "Open Interpreter with a hosted model"),
    ("shell", "a shell that reaches nothing"),
];

/// A template's text for an agent of this name; `None` for an unknown template.
#[must_use]
pub fn template(name: &str, agent: &AgentName) -> Option<String> {
    let text = match name {
        "claude-code" => include_str!("../templates/claude-code.toml"),
        "codex" => include_str!("../templates/codex.toml"),
        "open-interpreter" => include_str!("../templates/open-interpreter.toml"),
        "shell" => include_str!("../templates/shell.toml"),
        _ => return None,
    };
    Some(text.replace("AGENT", agent.as_str()))
}

/// The policy of `run --here`: one directory, the hosts of the command line, limits that need no control group.
///
/// The text is what its arguments say; whether that is a valid policy is for [`crate::Policy::parse`] to find.
#[must_use]
pub fn here_policy(agent: &AgentName, workspace: &str, hosts: &[String], command: &[String]) -> String {
    let words: Array = command.iter().collect();
    let mut text = format!(
        "# Made by `wardroom run --here`. Keep it with `--save`.\n\
         [agent]\nname = {}\n",
        value(agent.as_str())
    );
    if !words.is_empty() {
        text.push_str(&format!("command = {}\n", value(words)));
    }
    text.push_str(&format!(
        "\n[isolation]\nkind = \"cell\"\ntasks = 4096\nlimits = \"rlimits-only\"\n\
         \n[files]\nworkspace = {}\n",
        value(workspace)
    ));
    for host in hosts {
        text.push_str(&rule(host));
    }
    text
}

/// A rule for `host` or `host:port`.
fn rule(host: &str) -> String {
    let port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
    match port {
        Some((name, port)) => {
            let tcp = if port == 22 || port == 80 { "protocol = \"tcp\"\n" } else { "" };
            format!("\n[[network.allow]]\nhost = {}\nports = [{port}]\n{tcp}", value(name))
        }
        None => format!("\n[[network.allow]]\nhost = {}\n", value(host)),
    }
}

#[cfg(test)]
mod tests;
