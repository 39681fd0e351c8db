//! How a cell is built, and what is left when it could not be.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};
use wardroom_cell::{BuildOptions, CellError, Step, build};
use wardroom_kernel::features::KernelFeatures;
use wardroom_model::plan::{CellPlan, Identity, LimitsBy, Mount};

use crate::harness::{Case, Mode, World, bind, run_in};

pub(crate) const CASES: &[Case] = &[
    ("a_command_runs_and_its_exit_code_is_returned", exit_code),
    ("a_failure_at_any_step_leaves_nothing_behind", failures),
    ("a_missing_workspace_is_named_and_an_optional_file_left_out", missing),
    ("a_small_file_is_copied_and_what_a_link_leads_to_is_not", copies),
    ("a_home_or_workspace_that_is_reached_by_a_link_is_refused", planted_links),
    ("the_agent_is_never_the_hosts_root", never_root),
    ("a_kernel_that_lacks_a_feature_is_refused", old_kernel),
    ("landlock_of_every_level_from_3_makes_a_cell", landlock_levels),
    ("a_process_with_threads_builds_no_cell", threads),
    ("every_mechanism_is_in_force_as_asked", mechanisms),
    ("what_a_killed_keeper_left_of_its_groups_is_removed", stale_groups),
    ("limits_that_cannot_be_enforced_are_an_error_with_the_remedy", limits),
    ("a_target_outside_of_the_cell_is_refused", targets),
    ("what_the_agent_owns_outside_is_its_own_inside", ownership),
];

fn exit_code(world: &World) {
    let (status, said) = world.script("echo hello; id; exit 7");
    assert_eq!(status, 7, "{said}");
    assert!(said.contains("hello\nuid=1000(agent) gid=1000"), "{said}");
}

/// Everything of this process that a failed build could have left.
fn left() -> (BTreeSet<String>, String, bool, Vec<String>) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().map(|fd| fd.unwrap().file_name());
    let descriptors = descriptors.map(|name| name.to_string_lossy().into_owned()).collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let childless = wait(WaitOptions::NOHANG).is_err_and(|error| error == Errno::CHILD);
    let ours = format!("wardroom-scout-{}", rustix::process::getpid().as_raw_nonzero());
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let groups = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned());
        ["/sys/fs/cgroup".to_owned(), format!("/sys/fs/cgroup/{controllers}")]
            .map(|mount| format!("{mount}{path}/{ours}"))
    });
    (descriptors, mounts, childless, groups.filter(|path| std::fs::exists(path).unwrap()).collect())
}

pub(crate) fn with_limits(world: &World) -> CellPlan {
    let mut plan = world.plan();
    (plan.limits.memory, plan.limits.tasks) = (Some(256 << 20), Some(64));
    if world.mode == Mode::System {
        plan.limits.by = LimitsBy::Cgroup;
    }
    plan
}

fn failures(world: &World) {
    let plan = with_limits(world);
    let before = left();
    assert!(before.2 && before.3.is_empty(), "{before:?}");
    for step in Step::ALL {
        // In user mode the cell's init takes the sources, as a part of the mounts.
        if step == Step::Source && world.mode == Mode::User {
            continue;
        }
        match build(&plan, BuildOptions::for_this_kernel().failing_at(step)) {
            Err(CellError::Step { step: failed, .. }) => assert_eq!(failed, step),
            other => panic!("{step:?}: {other:?}"),
        }
        assert_eq!(left(), before, "{step:?}");
    }
    drop(world.start(&plan));
    let after = left();
    assert_eq!((&after.1, after.2, &after.3), (&before.1, before.2, &before.3));
}

fn missing(world: &World) {
    let mut plan = world.plan();
    plan.mounts.push(bind("/nonexistent/workspace", "/other", true));
    match build(&plan, BuildOptions::for_this_kernel()) {
        Err(CellError::Source { path, errno: Errno::NOENT }) => {
            assert_eq!(path.to_str(), Some("/nonexistent/workspace"));
        }
        other => panic!("{other:?}"),
    }
    plan.mounts.pop();
    plan.mounts.push(Mount::Bind {
        source: "/nonexistent/file".into(),
        target: "/etc/file".into(),
        write: false,
        exec: false,
        owned: false,
        optional: true,
    });
    let mut cell = world.start(&plan);
    assert_eq!(run_in(&mut cell, &["test", "-e", "/etc/file"]).0, 1);
}

fn stale_groups(world: &World) {
    if world.mode == Mode::User {
        return;
    }
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let group = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controller, path) = (parts.next()?, parts.next()?);
        let ours = ["memory", "pids", "freezer"].contains(&controller);
        ours.then(|| format!("/sys/fs/cgroup/{controller}{path}/wardroom-scout-1"))
    };
    let stale: Vec<_> =
        groups.lines().filter_map(group).filter(|path| std::fs::create_dir(path).is_ok()).collect();
    drop(world.start(&with_limits(world)));
    for path in stale {
        assert!(!std::fs::exists(&path).unwrap(), "{path}");
    }
}

fn copies(world: &World) {
    let outside = |name: &str| world.directory.join("workspace").join(name);
    std::fs::write(outside("small"), "small").unwrap();
    symlink(outside("small"), outside("planted")).unwrap();
    let mut plan = world.plan();
    for name in ["small", "planted"] {
        plan.mounts.push(Mount::Copy { source: outside(name), target: format!("/etc/{name}").into() });
    }
    let mut cell = world.start(&plan);
    let bound = |target: &str| cell.mechanisms().iter().any(|mechanism| mechanism.name == target);
    assert!(!bound("mount /etc/small") && bound("mount /etc/planted"));
    for name in ["small", "planted"] {
        let line = format!(
            "cat /etc/{name}; exec 9< /etc/{name}; for try in 'chmod 666 /etc/{name}' 'rm -f /etc/{name}' \
             'ln /etc/{name} /etc/other' 'chmod 666 /proc/self/fd/9' 'dd of=/proc/self/fd/9' 'truncate -s 0 /etc/{name}'; \
             do $try < /dev/null 2>/dev/null && echo \"$try\"; done"
        );
        assert_eq!(run_in(&mut cell, &["/bin/sh", "-c", &line]).1, "small");
    }
}

fn planted_links(world: &World) {
    symlink("/etc", world.directory.join("link")).unwrap();
    symlink("/", world.directory.join("up")).unwrap();
    let through = format!("up{}/home", world.directory.display());
    for planted in ["link", &through] {
        let mut plan = world.plan();
        plan.mounts.push(bind(world.directory.join(planted).to_str().unwrap(), "/other", true));
        match build(&plan, BuildOptions::for_this_kernel()) {
            Err(error @ CellError::Source { errno: Errno::LOOP, .. }) => {
                assert!(error.to_string().contains("name the real path"), "{error}");
            }
            other => panic!("{planted}: {other:?}"),
        }
    }
}

fn never_root(world: &World) {
    for identity in [
        Identity::Operator { uid: 0, gid: 0 },
        Identity::Operator { uid: 1000, gid: 0 },
        Identity::Range { first: 0 },
        Identity::Range { first: u32::MAX - 10 },
    ] {
        let plan = CellPlan { identity, ..world.plan() };
        assert!(
            matches!(build(&plan, BuildOptions::for_this_kernel()), Err(CellError::Plan(_))),
            "{identity:?}"
        );
    }
}

fn old_kernel(world: &World) {
    let features = KernelFeatures::of_this_kernel();
    for old in [
        KernelFeatures { landlock: 0, ..features },
        KernelFeatures { landlock: 2, ..features },
        KernelFeatures { mount_setattr: false, ..features },
    ] {
        let result = build(&world.plan(), BuildOptions::for_this_kernel().with_features(old));
        assert!(matches!(result, Err(CellError::Missing { .. })), "{result:?}");
    }
}

fn landlock_levels(world: &World) {
    let features = KernelFeatures::of_this_kernel();
    for landlock in 3..=features.landlock {
        let options = BuildOptions::for_this_kernel().with_features(KernelFeatures { landlock, ..features });
        let cell = build(&world.plan(), options).unwrap();
        let word = format!("level {landlock},");
        assert!(cell.mechanisms().iter().any(|m| m.name == "landlock" && m.got.contains(&word)), "{word}");
    }
}

fn threads(world: &World) {
    let plan = world.plan();
    let result =
        std::thread::spawn(move || build(&plan, BuildOptions::for_this_kernel()).map(|_| ())).join().unwrap();
    assert!(matches!(result, Err(CellError::Step { step: Step::Clone, .. })), "{result:?}");
}

fn mechanisms(world: &World) {
    let cell = world.start(&with_limits(world));
    let names: Vec<&str> = cell.mechanisms().iter().map(|mechanism| mechanism.name.as_str()).collect();
    for name in
        ["landlock", "seccomp", "no_new_privs", "capabilities bounding", "mount /", "mount /proc", "user map"]
    {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    if world.mode == Mode::System {
        assert!(names.contains(&"cgroup memory") && names.contains(&"cgroup tasks"), "{names:?}");
        // The first control groups count buffers of TCP by themselves.
        let apart = std::fs::exists("/sys/fs/cgroup/memory/memory.kmem.tcp.limit_in_bytes").unwrap();
        assert_eq!(names.contains(&"cgroup tcp buffers"), apart, "{names:?}");
    }
    for mechanism in cell.mechanisms() {
        assert_eq!(mechanism.asked, mechanism.got, "{}", mechanism.name);
    }
}

fn limits(world: &World) {
    let mut plan = with_limits(world);
    plan.limits.by = LimitsBy::Cgroup;
    match build(&plan, BuildOptions::for_this_kernel()) {
        Ok(_) if world.mode == Mode::System => {}
        Err(error @ CellError::Limits { .. }) if world.mode == Mode::User => {
            assert!(error.to_string().contains("limits = \"rlimits-only\""), "{error}");
        }
        Ok(_) => eprintln!("SKIPPED: limits_that_cannot_be_enforced: this user may make control groups"),
        Err(error) => panic!("{error}"),
    }
}

fn targets(world: &World) {
    for target in ["relative", "/../etc", "/a/../../b", "/"] {
        let mut plan = world.plan();
        plan.mounts.push(Mount::Directory { target: target.into(), mode: 0o755 });
        assert!(build(&plan, BuildOptions::for_this_kernel()).is_err(), "{target}");
    }
}

fn ownership(world: &World) {
    let script = "stat -c %u /home/agent /workspace && echo text > /workspace/made && mkdir /home/agent/d && cat /workspace/made";
    let (status, said) = world.script(script);
    assert_eq!((status, said.as_str()), (0, "1000\n1000\ntext\n"));
    // In system mode the workspace is the operator's (root's here), and stays so: the mount maps the owners.
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(world.directory.join("workspace/made")).unwrap(),
    );
    let expected = if world.mode == Mode::System { 0 } else { rustix::process::geteuid().as_raw() };
    assert_eq!(owner, expected);
}
