//! Cuts an event that is too long for a frame (attack L4). What is cut keeps its length and digest where the agent
//! chose it; text that Wardroom itself wrote is merely shortened.

use wardroom_model::event::{
    Actor, Exec, FileAct, Image, LedgerNote, Mechanism, Operator, PolicyChange, Privilege, Probe,
    ProcessExit, Program, Session, SessionEnd, SessionStart, SocketAct, SocketTarget, Supervision,
};
use wardroom_model::request::{RequestDecision, RequestPhase, Usage};
use wardroom_model::{Captured, Event, Reason, Verdict};

/// Bytes kept of a thing that the agent chose. No event has more than six of them; a frame has 64 KiB.
const CAPTURED: usize = 8192;

/// Bytes kept of a text of our own.
const TEXT: usize = 512;

/// Mechanisms kept in the record of a session's start: 32 of three texts, 48 KiB.
const MECHANISMS: usize = 32;

/// The same event, short enough for a frame.
pub(crate) fn cut(event: &Event) -> Event {
    match event.clone() {
        Event::Operator(Operator { uid, action }) => {
            Event::Operator(Operator { uid, action: shorter(&action) })
        }
        Event::Session(session) => Event::Session(cut_session(session)),
        Event::Exec(Exec { actor, path, arguments, directory, interpreter, verdict }) => Event::Exec(Exec {
            actor: cut_actor(&actor),
            path: shorter(&path),
            arguments: shorter(&arguments),
            directory: shorter(&directory),
            interpreter: interpreter.as_ref().map(shorter),
            verdict: cut_verdict(verdict),
        }),
        Event::Image(Image { actor, device, inode, announced, arguments }) => Event::Image(Image {
            actor: cut_actor(&actor),
            device,
            inode,
            announced: announced.as_ref().map(shorter),
            arguments: arguments.as_ref().map(shorter),
        }),
        Event::Exit(ProcessExit { actor, status, unseen }) => Event::Exit(ProcessExit {
            actor: cut_actor(&actor),
            status,
            unseen: unseen.as_ref().map(shorter),
        }),
        Event::File(FileAct { actor, op, path, other, mode, verdict }) => Event::File(FileAct {
            actor: cut_actor(&actor),
            op,
            path: shorter(&path),
            other: other.as_ref().map(shorter),
            mode,
            verdict: cut_verdict(verdict),
        }),
        Event::Socket(SocketAct { actor, op, address, verdict }) => Event::Socket(SocketAct {
            actor: cut_actor(&actor),
            op,
            address: cut_target(address),
            verdict: cut_verdict(verdict),
        }),
        Event::Name(mut query) => {
            query.name = shorter(&query.name);
            query.verdict = cut_verdict(query.verdict);
            Event::Name(query)
        }
        Event::Privilege(Privilege { actor, call, arguments, detail, verdict, count }) => {
            Event::Privilege(Privilege {
                actor: cut_actor(&actor),
                call: text(&call),
                arguments,
                detail: detail.as_ref().map(shorter),
                verdict: cut_verdict(verdict),
                count,
            })
        }
        Event::Policy(PolicyChange { digest, file, refused, text }) => Event::Policy(PolicyChange {
            digest,
            file: shorter(&file),
            refused: refused.as_ref().map(shorter),
            text: text.as_ref().map(|text| text.shortened(4 * CAPTURED)),
        }),
        Event::Supervision(Supervision { process, what }) => {
            Event::Supervision(Supervision { process: text(&process), what: text(&what) })
        }
        Event::Ledger(LedgerNote::Garbled { producer, what }) => {
            Event::Ledger(LedgerNote::Garbled { producer, what: text(&what) })
        }
        Event::Probe(Probe { id, result, evidence }) => {
            Event::Probe(Probe { id: text(&id), result: text(&result), evidence: shorter(&evidence) })
        }
        Event::Request(mut request) => {
            request.method = text(&request.method);
            request.path = shorter(&request.path);
            request.phase = cut_phase(request.phase);
            Event::Request(request)
        }
        // Bounded by their types, except for the texts of a verdict, which the gate bounds.
        whole @ (Event::Connection(_) | Event::Packet(_) | Event::Ledger(_) | Event::Credential(_)) => whole,
    }
}

fn cut_session(session: Session) -> Session {
    match session {
        Session::Started(SessionStart { command, policy, mechanisms }) => Session::Started(SessionStart {
            command: shorter(&command),
            policy,
            mechanisms: mechanisms
                .iter()
                .take(MECHANISMS)
                .map(|Mechanism { name, asked, got }| Mechanism {
                    name: text(name),
                    asked: text(asked),
                    got: text(got),
                })
                .collect(),
        }),
        Session::Ended(SessionEnd { status, because }) => {
            Session::Ended(SessionEnd { status, because: because.as_deref().map(text) })
        }
    }
}

fn cut_phase(phase: RequestPhase) -> RequestPhase {
    match phase {
        RequestPhase::Decided(RequestDecision { verdict, credential }) => {
            RequestPhase::Decided(RequestDecision { verdict: cut_verdict(verdict), credential })
        }
        RequestPhase::Ended(mut end) => {
            end.usage = end.usage.map(|usage| Usage { model: text(&usage.model), ..usage });
            end.verdict = cut_verdict(end.verdict);
            RequestPhase::Ended(end)
        }
    }
}

fn cut_actor(actor: &Actor) -> Actor {
    let Program { path, trusted } = &actor.program;
    Actor { pid: actor.pid, program: Program { path: shorter(path), trusted: *trusted } }
}

fn cut_target(target: SocketTarget) -> SocketTarget {
    match target {
        SocketTarget::Unix(path) => SocketTarget::Unix(shorter(&path)),
        other @ (SocketTarget::Inet(_) | SocketTarget::Other(_) | SocketTarget::Unreadable) => other,
    }
}

fn cut_verdict(verdict: Verdict) -> Verdict {
    let Verdict { outcome, reason, rule } = verdict;
    let reason = match reason {
        Reason::OtherServerName(name) => Reason::OtherServerName(shorter(&name)),
        Reason::Malformed(what) => Reason::Malformed(text(&what)),
        Reason::LimitReached(what) => Reason::LimitReached(text(&what)),
        Reason::Unresolved(what) => Reason::Unresolved(text(&what)),
        Reason::Unreachable(what) => Reason::Unreachable(text(&what)),
        Reason::PrivilegeWithheld(what) => Reason::PrivilegeWithheld(text(&what)),
        Reason::FailedClosed(what) => Reason::FailedClosed(text(&what)),
        Reason::MethodNotNamed(method) => Reason::MethodNotNamed(text(&method)),
        Reason::OtherHost(host) => Reason::OtherHost(shorter(&host)),
        Reason::CredentialMisused(place) => Reason::CredentialMisused(text(&place)),
        Reason::OwnCredential(place) => Reason::OwnCredential(text(&place)),
        Reason::CredentialUnavailable(why) => Reason::CredentialUnavailable(text(&why)),
        Reason::ServerCertificate(why) => Reason::ServerCertificate(text(&why)),
        Reason::ClientDeclined(why) => Reason::ClientDeclined(text(&why)),
        Reason::UpstreamProtocol(why) => Reason::UpstreamProtocol(text(&why)),
        other @ (Reason::RulePermits
        | Reason::NoRule
        | Reason::RuleDenies
        | Reason::PortNotNamed(_)
        | Reason::ProgramNotNamed
        | Reason::LiteralAddress
        | Reason::SpecialAddress(_)
        | Reason::NoRoute
        | Reason::NoServerName
        | Reason::NotTls
        | Reason::TooSlow
        | Reason::PolicyChanged
        | Reason::SensitivePath
        | Reason::Canary
        | Reason::ForeignSocket
        | Reason::Mismatch
        | Reason::WallsDecide
        | Reason::ControlPoint
        | Reason::PathNotNamed) => other,
    };
    Verdict { outcome, reason, rule }
}

fn shorter(captured: &Captured) -> Captured {
    captured.shortened(CAPTURED)
}

fn text(text: &str) -> String {
    let kept = text.floor_char_boundary(TEXT);
    match text.get(..kept) {
        Some(start) if kept < text.len() => format!("{start}…"),
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message;
    use wardroom_model::Stamp;

    #[test]
    fn four_mebibytes_of_arguments_fit_and_keep_length_and_digest() {
        let arguments = Captured::cut(&vec![b'a'; 4 << 20], 1 << 20);
        let program = Program { path: Captured::from("/bin/sh"), trusted: true };
        let exec = Event::Exec(Exec {
            actor: Actor { pid: 1, program },
            path: Captured::from("/bin/sh"),
            arguments: arguments.clone(),
            directory: Captured::from("/"),
            interpreter: None,
            verdict: Verdict::observed(),
        });
        let mut buffer = Vec::new();
        let stamp = Stamp { monotonic: 0, wall: 0 };
        assert!(!message::write(&exec, stamp, &mut buffer));
        let short = cut(&exec);
        assert!(message::write(&short, stamp, &mut buffer));
        let Event::Exec(short) = short else { panic!("still an exec") };
        assert_eq!(short.arguments.whole(), arguments.whole());
    }
}
