//! What an agent must not be able to do (attacks C1 to C13 and C16), tried for real. Each fails, and not because the
//! attempt itself is broken: where that could be, the same attempt is made outside first.

use wardroom_model::plan::LimitsBy;

use crate::harness::{Case, Mode, World, run_in};

pub(crate) const CASES: &[Case] = &[
    ("no_privilege_is_left", privileges),
    ("every_mount_is_nosuid_and_nothing_of_the_system_is_writable", mounts),
    ("nothing_of_the_host_is_there", host_files),
    ("init_and_the_host_are_not_visible_in_proc", processes),
    ("proc_tells_nothing_of_the_machine_and_takes_nothing", proc_files),
    ("devices_are_the_harmless_six", devices),
    ("no_namespace_mount_or_root_can_be_made", namespaces),
    ("links_out_of_the_workspace_lead_nowhere", links),
    ("tracing_is_refused", tracing),
    ("setuid_programs_give_nothing", setuid),
    ("names_are_the_cells_own", names),
    ("shared_memory_is_not_executable", shared_memory),
    ("landlock_refuses_what_no_rule_permits", landlock),
    ("a_fork_bomb_is_limited_to_the_cell", fork_bomb),
    ("a_memory_bomb_is_limited_to_the_cell", memory_bomb),
    ("filling_the_temporary_directory_ends_at_its_size", filling),
];

/// Runs a script in which every line must fail; what did not is said.
fn all_fail(world: &World, attempts: &[&str]) {
    for attempt in attempts {
        let (status, said) = world.script(attempt);
        assert_ne!(status, 0, "{attempt} succeeded: {said}");
        assert_ne!(status, 127, "{attempt} could not be tried: {said}");
    }
}

fn says(world: &World, script: &str) -> String {
    let (status, said) = world.script(script);
    assert_eq!(status, 0, "{script}: {said}");
    said
}

fn privileges(world: &World) {
    let said = says(world, "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(said.contains(&format!("{set}:\t0000000000000000\n")), "{said}");
    }
    assert!(
        said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2") && said.contains("Groups:\t \n"),
        "{said}"
    );
}

fn mounts(world: &World) {
    let said = says(world, "cat /proc/self/mounts");
    for line in said.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let options: Vec<&str> = fields[3].split(',').collect();
        assert!(options.contains(&"nosuid"), "{line}");
        assert!(
            options.contains(&"nodev") || fields[1].starts_with("/dev/") || fields[1].starts_with("/proc/"),
            "{line}"
        );
        let own =
            ["/tmp", "/home/agent", "/workspace"].contains(&fields[1]) || fields[1].starts_with("/dev/");
        assert_eq!(options.contains(&"rw"), own, "{line}");
    }
    all_fail(
        world,
        &[
            "touch /usr/x",
            "touch /etc/x",
            "touch /x",
            "mkdir /y",
            "echo x >> /etc/passwd",
            "rm /bin",
            "touch /run/x",
            "touch /proc/x",
            "chmod 777 /usr/bin",
            "touch /usr/bin/env",
            "rmdir /run",
            "mv /etc /etcetera",
        ],
    );
}

fn host_files(world: &World) {
    for path in [
        "/root",
        "/var",
        "/sys",
        "/boot",
        "/etc/shadow",
        "/etc/ssh",
        "/opt",
        "/work",
        "/home/user",
        "/run/dbus",
    ] {
        let (status, _) = world.script(&format!("test -e {path}"));
        assert_eq!(status, 1, "{path} exists inside");
    }
    let (status, _) = world.script("cd /home/agent/.. && ls -d agent && ls -d [^a]*");
    assert_ne!(status, 0, "another home exists inside");
}

fn processes(world: &World) {
    // hidepid: init cannot be traced, so it is not even listed.
    let said = says(world, "ls -d /proc/[0-9]*; ls /proc/1 2>&1; true");
    assert!(!said.contains("/proc/1\n"), "{said}");
    all_fail(
        world,
        &[
            "cat /proc/1/mem",
            "cat /proc/1/environ",
            "cat /proc/1/maps",
            "readlink /proc/1/exe",
            "ls /proc/1/fd",
            "ls /proc/1/root/",
            "grep -qv '^$' /proc/1/cmdline",
        ],
    );
    let (status, _) = world.script("kill -9 1; kill -STOP 1; kill -TERM 1; true");
    assert_eq!(status, 0, "pid 1 cannot be killed from inside, and the shell goes on");
}

fn proc_files(world: &World) {
    let hidden = "kcore kmsg kallsyms keys key-users timer_list vmallocinfo slabinfo modules cmdline interrupts softirqs sysrq-trigger";
    let said = says(
        world,
        &format!("cd /proc; for f in {hidden}; do [ -e $f ] && head -c 1 $f | wc -c; done; true"),
    );
    assert!(said.lines().all(|line| line == "0"), "{said}");
    let said = says(
        world,
        "cd /proc; for d in acpi asound bus driver fs irq scsi; do [ -d $d ] && ls $d; done; true",
    );
    assert_eq!(said, "");
    all_fail(
        world,
        &[
            "echo x > /proc/sys/kernel/core_pattern",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
            "echo x > /proc/sys/kernel/hostname",
            "echo b > /proc/sysrq-trigger; test -s /proc/sysrq-trigger",
            "echo 0 1000 1 > /proc/self/uid_map",
            "echo -1000 > /proc/self/oom_score_adj",
        ],
    );
    // And what programs need is there.
    says(
        world,
        "grep -q MemTotal /proc/meminfo && grep -q processor /proc/cpuinfo && cat /proc/sys/kernel/osrelease",
    );
}

fn devices(world: &World) {
    let said = says(world, "ls /dev");
    let expected = "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert_eq!(said, expected);
    says(world, "echo x > /dev/null && head -c 4 /dev/urandom >/dev/null && head -c1 /dev/zero > /dev/null");
    all_fail(
        world,
        &["mknod /tmp/null c 1 3", "mknod /workspace/sda b 8 0", "echo x > /dev/full", "rm /dev/null"],
    );
}

fn namespaces(world: &World) {
    all_fail(
        world,
        &[
            "unshare -U true",
            "unshare -m true",
            "unshare -n true",
            "unshare -rm true",
            "mount -t tmpfs x /tmp",
            "mount --bind /tmp /home/agent",
            "mount -o remount,rw /usr",
            "umount /proc",
            "umount -l /proc/kcore",
            "python3 -c 'import os; os.chroot(\"/tmp\")'",
            "nsenter -t 1 -m true",
            "nsenter -t $$ -U true",
            "python3 -c 'import ctypes,sys; sys.exit(ctypes.CDLL(None).setns(0, 0) != 0)'",
            "python3 -c 'import ctypes,sys; sys.exit(ctypes.CDLL(None).pivot_root(b\"/\", b\"/\") != 0)'",
        ],
    );
}

fn links(world: &World) {
    std::fs::write(world.directory.join("secret"), "secret").unwrap();
    let outside = world.directory.display();
    all_fail(
        world,
        &[
            &format!("ln -s {outside}/secret /workspace/l && cat /workspace/l"),
            "cat /workspace/../secret",
            "cat ../../secret",
            "ln /etc/passwd /workspace/p && echo x >> /workspace/p",
            "cd /workspace; cat /proc/self/cwd/../secret",
        ],
    );
}

fn tracing(world: &World) {
    let ptrace = "python3 -c 'import ctypes,sys,os\npid=os.fork()\nif pid==0:\n import time; time.sleep(5); os._exit(0)\nr=ctypes.CDLL(None).ptrace(16,pid,0,0)\nos.kill(pid,9)\nsys.exit(r!=0)'";
    all_fail(
        world,
        &[ptrace, "python3 -c 'import ctypes,sys; sys.exit(ctypes.CDLL(None).ptrace(16,1,0,0)!=0)'"],
    );
}

fn setuid(world: &World) {
    all_fail(
        world,
        &[
            "su -c id root </dev/null",
            "python3 -c 'import os; os.setuid(0)'",
            "python3 -c 'import os; os.setgid(0)'",
            "python3 -c 'import os; os.setgroups([0])'",
            "chown 0 /workspace",
            "cp /usr/bin/id /workspace/id && chmod u+s /workspace/id && /workspace/id -u | grep -vx 1000",
        ],
    );
}

fn names(world: &World) {
    assert_eq!(says(world, "cat /proc/sys/kernel/hostname"), "scout\n");
    let groups = says(world, "cut -d: -f3 /proc/self/cgroup | sort -u");
    assert_eq!(groups, "/\n", "the host's control groups are visible");
    all_fail(world, &["hostname other", "python3 -c 'import socket; socket.sethostname(\"x\")'"]);
}

fn shared_memory(world: &World) {
    all_fail(world, &["cp /usr/bin/true /dev/shm/t && /dev/shm/t"]);
    says(world, "cp /usr/bin/true /tmp/t && /tmp/t");
}

fn landlock(world: &World) {
    // No rule names / itself: without Landlock its listing is open to all.
    all_fail(world, &["ls /", "ls /run"]);
}

fn limited(world: &World) -> wardroom_model::plan::CellPlan {
    let mut plan = world.plan();
    plan.limits.tasks = Some(40);
    plan.limits.memory = Some(128 << 20);
    if world.mode == Mode::System {
        plan.limits.by = LimitsBy::Cgroup;
    }
    plan
}

fn fork_bomb(world: &World) {
    let mut cell = world.start(&limited(world));
    let script = "i=0; while [ $i -lt 200 ]; do sleep 3 & i=$((i+1)); done 2>&1; echo finished";
    let (_, said) = run_in(&mut cell, &["timeout", "2", "bash", "-c", script]);
    assert!(said.contains("fork") && !said.contains("finished"), "{said}");
    cell.end().unwrap();
}

fn memory_bomb(world: &World) {
    let mut cell = world.start(&limited(world));
    let (status, said) = run_in(&mut cell, &["python3", "-c", "x = bytearray(512 << 20); print('had it')"]);
    assert!(status != 0 && !said.contains("had it"), "{status} {said}");
    assert_eq!(run_in(&mut cell, &["true"]).0, 0);
}

fn filling(world: &World) {
    let (status, said) = world.script("head -c 100M /dev/zero > /tmp/x; wc -c < /tmp/x");
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("No space left") && said.trim().ends_with(&(16 << 20).to_string()), "{said}");
}
