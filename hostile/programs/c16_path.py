# C16: a directory on the PATH that one may write to, or a file system where setuid counts.
import os
writable = [d for d in os.environ.get("PATH", "").split(":") if not d.startswith("/") or os.access(d, os.W_OK)]
loose = []
for line in open("/proc/self/mountinfo"):
    fields = line.split()
    if "nosuid" not in fields[5].split(","):
        loose.append(fields[4])
if writable or loose:
    print(f"ESCAPED: writable on the PATH: {writable}; without nosuid: {loose}")
    raise SystemExit(0)
print("BLOCKED: the PATH is read-only, nosuid everywhere")
raise SystemExit(1)
