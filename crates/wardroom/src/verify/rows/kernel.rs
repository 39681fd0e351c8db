//! C3, C5, C7, C8: the kernel's levers. The attempts are rows of `wardroom_kernel::probe::calls`.

use wardroom_kernel::probe::process;

use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::{Call, Run};
use crate::verify::probe::Control::{Bare, Outside};
use crate::verify::probe::Expect::{Death, Privilege};
use crate::verify::probe::{Probe, probe};
use crate::verify::scene::Scene;

/// The signal of a filter that kills: `SIGSYS`.
const SIGSYS: u32 = 31;

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("C5.mount", "mounting a file system", Call("mount"), Bare(&[]), Privilege("mount")),
    probe("C5.umount", "unmounting one", Call("umount2"), Bare(&[]), Privilege("umount2")),
    probe("C5.pivot-root", "another root by pivot_root", Call("pivot_root"), Bare(&[]), Privilege("pivot_root")),
    probe("C5.chroot", "another root by chroot", Call("chroot"), Bare(&[]), Privilege("chroot")),
    probe("C5.move-mount", "moving a mount", Call("move_mount"), Bare(&[]), Privilege("move_mount")),
    probe("C5.fsopen", "opening a file system's context", Call("fsopen"), Bare(&[]), Privilege("fsopen")),
    probe("C5.fspick", "reconfiguring a file system", Call("fspick"), Bare(&[]), Privilege("fspick")),
    probe("C5.fsmount", "mounting from a context", Call("fsmount"), Bare(&[]), Privilege("fsmount")),
    probe("C5.open-tree", "copying a mount tree", Call("open_tree"), Bare(&[]), Privilege("open_tree")),
    probe("C5.mount-setattr", "changing a mount's flags", Call("mount_setattr"), Bare(&[]), Privilege("mount_setattr")),
    probe("C7.bpf", "loading programs into the kernel", Call("bpf"), Outside, Privilege("bpf")),
    probe("C7.perf", "the performance counters", Call("perf_event_open"), Outside, Privilege("perf_event_open")),
    probe("C7.userfaultfd", "handling page faults of the kernel", Call("userfaultfd"), Outside, Privilege("userfaultfd")),
    probe("C7.io-uring", "io_uring, whose operations pass by a filter", Call("io_uring_setup"), Outside, Privilege("io_uring_setup")),
    probe("C7.keyctl", "the kernel's keyrings: looking", Call("keyctl"), Outside, Privilege("keyctl")),
    probe("C7.add-key", "the kernel's keyrings: adding", Call("add_key"), Outside, Privilege("add_key")),
    probe("C7.request-key", "the kernel's keyrings: asking", Call("request_key"), Outside, Privilege("request_key")),
    probe("C7.kexec", "another kernel", Call("kexec_load"), Outside, Privilege("kexec_load")),
    probe("C7.init-module", "a kernel module from memory", Call("init_module"), Outside, Privilege("init_module")),
    probe("C7.finit-module", "a kernel module from a file", Call("finit_module"), Outside, Privilege("finit_module")),
    probe("C7.delete-module", "removing a kernel module", Call("delete_module"), Outside, Privilege("delete_module")),
    probe("C7.handle", "opening by handle, past every path", Call("open_by_handle_at"), Outside, Privilege("open_by_handle_at")),
    probe("C7.fanotify", "watching whole file systems", Call("fanotify_init"), Outside, Privilege("fanotify_init")),
    probe("C7.quotactl", "changing quotas", Call("quotactl"), Outside, Privilege("quotactl")),
    probe("C7.swapon", "adding swap", Call("swapon"), Outside, Privilege("swapon")),
    probe("C7.reboot", "restarting the machine", Call("reboot"), Bare(&[]), Privilege("reboot")),
    probe("C7.settimeofday", "setting the clock", Call("settimeofday"), Outside, Privilege("settimeofday")),
    probe("C7.clock-settime", "setting the clock, the newer way", Call("clock_settime"), Outside, Privilege("clock_settime")),
    probe("C7.iopl", "the machine's ports, all", Call("iopl"), Outside, Privilege("iopl")),
    probe("C7.ioperm", "the machine's ports, one", Call("ioperm"), Outside, Privilege("ioperm")),
    probe("C7.personality", "a personality that makes data executable", Call("personality"), Outside, Privilege("personality")),
    probe("C8.x32", "a system call of the x32 table", Call("x32"), Outside, Death(SIGSYS)),
    probe("C8.ia32", "a system call of the 32-bit table", Run(ia32), Outside, Death(SIGSYS)),
];

#[cfg(target_arch = "x86_64")]
fn ia32(_: &Scene) -> Outcome {
    Outcome::of(process::ia32_getpid(), "it was answered")
}

#[cfg(not(target_arch = "x86_64"))]
fn ia32(_: &Scene) -> Outcome {
    Outcome::Impossible("this architecture has no such table".to_owned())
}
