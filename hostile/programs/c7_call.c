/* C7: the kernel's dangerous doors. Argument: the call. Every attempt is chosen so that even if it succeeds nothing changes on the
 * machine: invalid flags, a bad magic number, a module of no bytes. An error that only a permitted caller can get
 * (the second column) counts as an escape: the kernel took the call. */
#include "../include/verdict.h"
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <sys/io.h>
#include <sys/personality.h>
#include <sys/time.h>

static long call_bpf(void) {
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
}
static long call_perf_event_open(void) {
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1, .exclude_hv = 1};
    return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}
static long call_userfaultfd(void) { return syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* user mode only */); }
static long call_io_uring_setup(void) {
    struct io_uring_params parameters = {0};
    return syscall(SYS_io_uring_setup, 8, &parameters);
}
static long call_keyctl(void) { return syscall(SYS_keyctl, 0 /* get keyring id */, -3 /* session */, 1); }
static long call_add_key(void) { return syscall(SYS_add_key, "user", "wardroom-hostile", "x", 1, -2 /* process */); }
static long call_request_key(void) { return syscall(SYS_request_key, "user", "wardroom-hostile-none", NULL, 0); }
static long call_kexec_load(void) { return syscall(SYS_kexec_load, 0, 100000 /* too many */, NULL, 0); }
static long call_init_module(void) { return syscall(SYS_init_module, NULL, 0, ""); }
static long call_finit_module(void) { return syscall(SYS_finit_module, -1, "", 0); }
static long call_delete_module(void) { return syscall(SYS_delete_module, "wardroom_hostile_none", 0); }
static long call_open_by_handle_at(void) {
    struct { unsigned bytes; int type; unsigned char handle[128]; } handle = {.bytes = 128};
    int mount = 0;
    if (syscall(SYS_name_to_handle_at, AT_FDCWD, "/", &handle, &mount, 0) < 0) { handle.bytes = 8; handle.type = 1; }
    int root = open("/", O_RDONLY | O_CLOEXEC);
    return syscall(SYS_open_by_handle_at, root, &handle, O_PATH);
}
static long call_fanotify_init(void) { return syscall(SYS_fanotify_init, 0x200 /* report fid */, O_RDONLY); }
static long call_quotactl(void) { return syscall(SYS_quotactl, 0x80000100 /* Q_SYNC */, NULL, 0, NULL); }
static long call_swapon(void) { return syscall(SYS_swapon, "/nonexistent/wardroom-hostile", 0); }
static long call_reboot(void) { return syscall(SYS_reboot, 1, 1 /* bad magic */, 0, NULL); }
static long call_settimeofday(void) { return syscall(SYS_settimeofday, NULL, NULL); }
static long call_iopl(void) { return syscall(SYS_iopl, 3); }
static long call_ioperm(void) { return syscall(SYS_ioperm, 0x80, 1, 1); }
static long call_personality(void) { return syscall(SYS_personality, READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE); }
static long call_syslog(void) { return syscall(SYS_syslog, 10 /* size of the buffer */, NULL, 0); }

static const struct { const char *name; int taken; long (*call)(void); } calls[] = {
    {"bpf", 0, call_bpf}, {"perf_event_open", 0, call_perf_event_open}, {"userfaultfd", 0, call_userfaultfd},
    {"io_uring_setup", 0, call_io_uring_setup}, {"keyctl", ENOKEY, call_keyctl}, {"add_key", 0, call_add_key},
    {"request_key", ENOKEY, call_request_key}, {"kexec_load", EINVAL, call_kexec_load}, {"init_module", ENOEXEC, call_init_module},
    {"finit_module", EBADF, call_finit_module}, {"delete_module", ENOENT, call_delete_module},
    {"open_by_handle_at", ESTALE, call_open_by_handle_at}, {"fanotify_init", 0, call_fanotify_init}, {"quotactl", 0, call_quotactl},
    {"swapon", ENOENT, call_swapon}, {"reboot", EINVAL, call_reboot}, {"settimeofday", 0, call_settimeofday}, {"iopl", 0, call_iopl},
    {"ioperm", 0, call_ioperm}, {"personality", 0, call_personality}, {"syslog", 0, call_syslog},
};

int main(int argc, char **argv) {
    const char *wanted = argc > 1 ? argv[1] : "bpf";
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(calls[i].name, wanted)) continue;
        if (calls[i].call() >= 0) return escaped(wanted);
        if (errno == calls[i].taken) return verdict("ESCAPED", wanted, errno);
        return blocked(wanted);
    }
    errno = 0;
    return could_not("no such call in this program");
}
