# C3, C16: run the host's setuid programs and see whether the effective uid changes.
import os, stat, sys
helper = sys.argv[1] if len(sys.argv) > 1 else None
found = [helper] if helper else []
for directory in ("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/lib/openssh", "/usr/lib/dbus-1.0"):
    try:
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if os.lstat(path).st_mode & stat.S_ISUID and stat.S_ISREG(os.lstat(path).st_mode):
                found.append(path)
    except OSError:
        pass
if not found:
    print("COULD NOT: no setuid program here")
    raise SystemExit(2)
for path in found:
    if not os.statvfs(path).f_flag & os.ST_NOSUID:
        print(f"ESCAPED: {path} would run with its owner's rights: the file system permits setuid")
        raise SystemExit(0)
print(f"BLOCKED: {len(found)} setuid programs, all on file systems with nosuid")
raise SystemExit(1)
