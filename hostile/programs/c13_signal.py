# C13: signal a process outside. Signal 0 asks for permission and does nothing. Arguments: pids.
import os, sys
last = ""
for pid in map(int, sys.argv[1:]):
    try:
        os.kill(pid, 0)
        print(f"ESCAPED: may signal {pid}")
        raise SystemExit(0)
    except OSError as error:
        last = f"{pid}: {error.strerror}"
names = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        names.append(open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[0])
    except OSError:
        pass
if any(name.endswith(b"wardroom") and b"/" in name for name in names):
    print("ESCAPED: a process of Wardroom's own is visible")
    raise SystemExit(0)
print(f"BLOCKED: {last}; none of Wardroom's processes is visible")
raise SystemExit(1)
