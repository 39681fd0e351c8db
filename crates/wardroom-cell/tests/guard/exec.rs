//! Programs: an exec is on record as it was asked for, and then what the kernel made of it.

use std::collections::BTreeMap;
use std::process::Output;

use wardroom_model::Event;
use wardroom_model::event::Exec;

use crate::{PLAIN, Watched, command, compiled, execs, exits, images, shell, text, watched};

#[test]
fn an_exec_is_recorded_with_arguments_and_the_image_that_was_loaded_and_the_exit() {
    let seen = shell(PLAIN, "/bin/echo one two; exit 3");
    assert_eq!(seen.result.status.code(), Some(3));
    let execs = execs(&seen.events);
    assert_eq!(execs[0].path.shown(), b"/bin/sh");
    assert_eq!(execs[1].path.shown(), b"/bin/echo");
    assert_eq!(execs[1].arguments.shown(), b"/bin/echo\0one\0two\0");
    let images = images(&seen.events);
    assert_eq!(images.len(), 2, "{images:?}");
    assert!(
        images.iter().all(|image| image.announced.is_none() && image.actor.program.trusted),
        "{images:?}"
    );
    assert!(images[1].actor.program.path.shown().ends_with(b"/echo"));
    let statuses: Vec<_> = exits(&seen.events).iter().map(|exit| exit.status).collect();
    assert!(statuses == [Some(0), Some(3)] || statuses == [None, None], "{statuses:?}");
}

#[test]
fn a_script_is_recorded_with_its_interpreter_and_runs_as_it() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh -e\ntrue\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = script.display().to_string();
    let seen = watched(PLAIN, || command(&path).output().unwrap());
    assert!(seen.result.status.success());
    let execs = execs(&seen.events);
    assert_eq!(execs[0].interpreter.as_ref().unwrap().shown(), b"/bin/sh");
    assert_eq!((&images(&seen.events)[0].announced, &images(&seen.events)[0].arguments), (&None, &None));
}

#[test]
fn arguments_that_nobody_changed_are_those_that_were_announced() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let script = |name: &str, line: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, line).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    script("plain", "#!/bin/sh -e\ntrue\n");
    script("blank", "#! /bin/echo \t with  blanks \t\nx");
    script("endless", "#!/bin/echo");
    script("wide", &format!("#!/bin/echo {}\n", "y".repeat(400)));
    script("nested", &format!("#!{at}/plain of a script\n"));
    let long = "x".repeat(100_000);
    let seen = shell(
        PLAIN,
        &format!(
            "cd {at} && ./plain one '' two && ./blank && ./endless && ./wide && ./nested && PATH=. plain 1 && /bin/echo {long}"
        ),
    );
    assert!(seen.result.status.success(), "{}", text(&seen.result));
    let bare = watched(PLAIN, || {
        let line = r#"
import ctypes, os
if os.fork() == 0:
    here, words = os.open(".", 0), (ctypes.c_char_p * 3)(b"x", b"one", None)
    os.chdir("/")
    os.set_inheritable(here, True)
    ctypes.CDLL(None).syscall(322 if os.uname().machine == "x86_64" else 281, here, b"plain", words, words, 0)
    os._exit(9)
assert os.wait()[1] == 0
os.execv("/proc/self/exe", ["python3", "-c", ""])
"#;
        command("python3").current_dir(dir.path()).args(["-c", line]).output().unwrap()
    });
    assert!(bare.result.status.success(), "{}", text(&bare.result));
    for events in [&seen.events, &bare.events] {
        for image in images(events) {
            assert_eq!((&image.announced, &image.arguments), (&None, &None), "{image:?}");
        }
    }
    assert_eq!(images(&seen.events).len(), 8);
    assert!(images(&bare.events).len() >= 3, "python may be a script that finds another");
}

#[test]
fn programs_from_memory_and_by_descriptor_are_recorded_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #define _GNU_SOURCE
        #include <sys/mman.h>
        #include <sys/syscall.h>
        #include <fcntl.h>
        #include <unistd.h>
        extern char **environ;
        int main(void) {
            int from = open("/bin/true", O_RDONLY), to = memfd_create("hidden", MFD_CLOEXEC);
            char b[65536]; long n;
            while ((n = read(from, b, sizeof b)) > 0) write(to, b, n);
            char *argv[] = {"innocent", 0};
            syscall(SYS_execveat, to, "", argv, environ, AT_EMPTY_PATH);
            return 9;
        }"#;
    let Some(program) = compiled("programs_from_memory", dir.path(), source, &[]) else { return };
    let seen = watched(PLAIN, || command(&program).output().unwrap());
    assert!(seen.result.status.success(), "{:?}", seen.result);
    let exec = execs(&seen.events)[1];
    assert_eq!(exec.path.shown(), b"/memfd:hidden (deleted)");
    assert_eq!(exec.arguments.shown(), b"innocent\0");
    let image = images(&seen.events)[1];
    assert_eq!(image.actor.program.path.shown(), b"/memfd:hidden (deleted)");
    assert!(!image.actor.program.trusted && image.announced.is_none());
}

#[test]
fn an_exec_whose_path_is_changed_behind_the_guard_is_a_mismatch() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <pthread.h>
        #include <string.h>
        #include <unistd.h>
        static char path[32] = "/bin/true";
        static void *flip(void *p) { (void)p; for (;;) { memcpy(path, "/bin/true ", 10); path[9] = 0; memcpy(path, "/bin/echo", 9); } }
        int main(void) {
            pthread_t t;
            pthread_create(&t, 0, flip, 0);
            usleep(1000);
            char *argv[] = {"x", 0}, *env[] = {0};
            execve(path, argv, env);
            return 9;
        }"#;
    let Some(program) = compiled("an_exec_whose_path", dir.path(), source, &["-pthread"]) else { return };
    let seen = watched(PLAIN, || {
        for _ in 0..200 {
            command(&program).output().unwrap();
        }
    });
    let (mut lied, mut told) = (0, 0);
    let mut announced = BTreeMap::new();
    for event in &seen.events {
        match event {
            Event::Exec(exec) => drop(announced.insert(exec.actor.pid, exec.path.clone())),
            Event::Image(image) => {
                let path = announced.get(&image.actor.pid).unwrap();
                let ran = image.actor.program.path.shown().rsplit(|b| *b == b'/').next().unwrap();
                let said = path.shown().rsplit(|b| *b == b'/').next().unwrap();
                // Whatever was announced, the image on record is the one that ran, and a difference is marked.
                assert_eq!(ran != said, image.announced.is_some(), "{path} {image:?}");
                if ran == said { told += 1 } else { lied += 1 }
            }
            _ => {}
        }
    }
    assert!(lied > 0 && told > 0, "{lied} lied, {told} told");
}

/// A program that changes one letter of `TEXT`, an argument or the path, while a child of it executes `PATH`, two hundred times.
const FLIPPING: &str = r#"
    #include <pthread.h>
    #include <sys/wait.h>
    #include <unistd.h>
    static char text[] = TEXT;
    static void *flip(void *p) { volatile char *at = &text[AT]; (void)p; for (;;) { *at = 'b'; *at = 'a'; } }
    int main(void) {
        for (int i = 0; i < 200; i++) {
            if (fork() == 0) {
                pthread_t t;
                pthread_create(&t, 0, flip, 0);
                usleep(1000);
                char *argv[] = {"x", ARGUMENT, 0}, *env[] = {0};
                execve(PATH, argv, env);
                _exit(9);
            }
            wait(0);
        }
        return 0;
    }"#;

/// What `echo` said and what is on record of the same run: a difference is marked, with what was found.
#[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
fn assert_marked(seen: &Watched<Output>, said: impl Fn(&Exec) -> u8) {
    assert!(seen.result.status.success(), "{}", text(&seen.result));
    let mut printed =
        text(&seen.result).lines().map(|line| *line.as_bytes().last().unwrap()).collect::<Vec<_>>();
    let (mut announced, mut lied, mut recorded) = (BTreeMap::new(), 0, Vec::new());
    for event in &seen.events {
        match event {
            Event::Exec(exec) => drop(announced.insert(exec.actor.pid, said(exec))),
            Event::Image(image) if image.actor.program.path.shown().ends_with(b"/echo") => {
                let found = image.arguments.as_ref().map(|found| found.shown()[found.shown().len() - 2]);
                lied += usize::from(found.is_some());
                recorded.push(found.unwrap_or(announced[&image.actor.pid]));
                assert_ne!(found, Some(announced[&image.actor.pid]), "{image:?}");
            }
            _ => {}
        }
    }
    printed.sort_unstable();
    recorded.sort_unstable();
    assert_eq!(printed, recorded);
    if lied == 0 {
        eprintln!("SKIPPED: a race behind the guard: it was never won");
    }
}

#[test]
fn arguments_that_are_changed_behind_the_guard_are_on_record_as_the_program_got_them() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["-pthread", "-DTEXT=\"word-a\"", "-DAT=5", "-DARGUMENT=text", "-DPATH=\"/bin/echo\""];
    let Some(program) = compiled("arguments_that_are_changed", dir.path(), FLIPPING, &flags) else { return };
    let seen = watched(PLAIN, || command(&program).output().unwrap());
    assert_marked(&seen, |exec| exec.arguments.shown()[exec.arguments.shown().len() - 2]);
}

#[test]
fn a_script_that_is_changed_behind_the_guard_is_on_record_as_its_interpreter_got_it() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["say-a", "say-b"] {
        let path = dir.path().join(name);
        std::fs::write(&path, "#!/bin/echo\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let flags = ["-pthread", "-DTEXT=\"say-a\"", "-DAT=4", "-DARGUMENT=0", "-DPATH=text"];
    let Some(program) = compiled("a_script_that_is_changed", dir.path(), FLIPPING, &flags) else { return };
    let seen = watched(PLAIN, || command(&program).current_dir(dir.path()).output().unwrap());
    assert_marked(&seen, |exec| *exec.path.shown().last().unwrap());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn an_exec_that_failed_is_no_image_whatever_call_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #define _GNU_SOURCE
        #include <asm/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(int n, char **given) {
            char *argv[] = {"never", "ran", 0};
            unsigned long fs;
            if (n > 1) return 0;
            syscall(SYS_execve, "/proc/self/exe", argv, 8); /* an environment that cannot be read */
            syscall(SYS_execve, given[0], argv, 8);
            syscall(SYS_arch_prctl, ARCH_GET_FS, &fs);
            syscall(SYS_arch_prctl, ARCH_SET_FS, fs);
            execl(given[0], "itself", "again", (char *)0);
            return 9;
        }"#;
    let Some(program) = compiled("an_exec_that_failed", dir.path(), source, &[]) else { return };
    let seen = watched(PLAIN, || command(&program).output().unwrap());
    assert!(seen.result.status.success(), "{:?}", seen.result);
    // A host that puts every stack at the same place does not tell the second from the first.
    let each_its_own = std::fs::read_to_string("/proc/sys/kernel/randomize_va_space").unwrap().trim() != "0";
    assert_eq!((execs(&seen.events).len(), images(&seen.events).len()), (4, 1 + usize::from(each_its_own)));
}

#[test]
fn an_exec_that_is_only_asked_about_is_not_recorded_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #define _GNU_SOURCE
        #include <errno.h>
        #include <fcntl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(void) {
            char *argv[] = {"true", 0}, *env[] = {0};
            errno = 0;
            syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, env, 0x10000); /* AT_EXECVE_CHECK */
            return errno;
        }"#;
    let Some(program) = compiled("an_exec_that_is_only_asked", dir.path(), source, &[]) else { return };
    let seen = watched(PLAIN, || command(&program).output().unwrap());
    assert_eq!(seen.result.status.code(), Some(22), "as before Linux 6.14: {:?}", seen.result);
    assert_eq!(execs(&seen.events).len(), 1, "{:?}", seen.events);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn an_image_that_makes_no_audited_call_is_seen_while_it_lives_or_missed_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    // No libc, and so no thread pointer to set. It sleeps one second and a half unless it has an argument.
    let source = r#"
        __asm__(".globl _start\n_start: mov (%rsp), %ebx\n cmp $1, %ebx\n jne 1f\n"
                "push $500000000\n push $1\n mov %rsp, %rdi\n xor %esi, %esi\n mov $35, %eax\n syscall\n"
                "1: mov $7, %edi\n mov $60, %eax\n syscall\n");"#;
    let test = "an_image_that_makes_no_audited_call";
    let Some(program) = compiled(test, dir.path(), source, &["-static", "-nostdlib"]) else { return };
    let brief = watched(PLAIN, || command(&program).arg("brief").status().unwrap());
    assert_eq!(brief.result.code(), Some(7));
    let unseen = exits(&brief.events)[0].unseen.as_ref().unwrap();
    assert_eq!(unseen.shown(), program.as_bytes());

    let slow = watched(PLAIN, || command(&program).status().unwrap());
    assert_eq!(images(&slow.events)[0].actor.program.path.shown(), program.as_bytes());
    assert_eq!(exits(&slow.events)[0].unseen, None);

    let ordinary = shell(PLAIN, "/bin/true; /bin/echo");
    assert!(exits(&ordinary.events).iter().all(|exit| exit.unseen.is_none()), "{:?}", ordinary.events);
}
