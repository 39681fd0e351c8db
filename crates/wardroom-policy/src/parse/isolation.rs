//! `[isolation]`: what the agent is contained by, and how much of the machine it may use.

use wardroom_model::plan::LimitsBy;

use super::table::Table;
use super::{Source, files, units};
use crate::diagnose::{At, Diagnostic, Report};
use crate::policy::{Isolation, IsolationKind};

/// What was read; the span is that of `kind`.
pub(crate) fn read(source: Source<'_>, mut table: Table<'_>, report: &mut Report) -> Option<At<Isolation>> {
    if table.key_span("kind").is_none() {
        table.missing("kind", report);
    }
    let kind = table.word("kind", &[("cell", IsolationKind::Cell), ("vm", IsolationKind::Vm)], report);
    let memory = table.formed("memory", units::SIZE, report).and_then(|text| memory(&text, report));
    let cpus = table.number("cpus", CPUS, report).map(|number| number.value);
    // A cell's own init and the command are two; 4,194,304 is the kernel's PID_MAX_LIMIT.
    let tasks = table.integer("tasks", 2..4_194_305, report).map(|number| number.value);
    let by = [("cgroup", LimitsBy::Cgroup), ("rlimits-only", LimitsBy::RlimitsOnly)];
    let limits = table.word("limits", &by, report);
    let cpus_span = table.key_span("cpus");
    if let (Some(LimitsBy::RlimitsOnly), Some(span)) = (limits.as_ref().map(|limits| limits.value), cpus_span)
    {
        let title = "`cpus` cannot be limited by resource limits";
        let help = "leave `cpus` out, or leave `limits` out to use control groups";
        report.push(Diagnostic::new(title, span, "only a control group can do this").help(help));
    }
    let root = table.text("root", report).and_then(|text| files::path(source, text, report));
    let trace_children = table.boolean("trace_children", report).is_some_and(|found| found.value);
    table.finish(report);
    let kind = kind?;
    // Without the key, a limit that is asked for is one that holds: by control group, or the cell does not start.
    let limits = limits.map_or(LimitsBy::Cgroup, |limits| limits.value);
    let value = Isolation { kind: kind.value, memory, cpus, tasks, limits, root, trace_children };
    Some(At { value, span: kind.span })
}

/// A thousand microseconds in a period of 100,000 is the least that the kernel takes as a quota (`cpu.max`). 1024 processors are
/// more than all but a few machines have; more is a mistake.
const CPUS: std::ops::RangeInclusive<f64> = 0.01..=1024.0;

fn memory(text: &At<String>, report: &mut Report) -> Option<u64> {
    // Below this, a shell does not start; above it, the number is a mistake. 16 MiB and 64 TiB.
    const SENSIBLE: std::ops::RangeInclusive<u64> = 1 << 24..=1 << 46;
    match units::bytes(&text.value) {
        Ok(bytes) if SENSIBLE.contains(&bytes) => Some(bytes),
        Ok(_) => {
            let title = format!("{:?} is out of range", text.value);
            report.push(Diagnostic::new(title, text.span.clone(), "from 16 MiB to 64 TiB"));
            None
        }
        Err(label) => {
            let title = format!("{:?} is no size", text.value);
            report.push(Diagnostic::new(title, text.span.clone(), label));
            None
        }
    }
}
