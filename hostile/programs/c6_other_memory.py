# C6, C13: the memory of a process outside, by its number on the host. Argument: the pid.
import os, sys
pid = sys.argv[1]
try:
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
except OSError as error:
    print(f"BLOCKED: /proc/{pid}/mem: {error.strerror}")
    raise SystemExit(1)
inside = open(f"/proc/{pid}/status").readline().strip()
print(f"ESCAPED: the memory of {inside} is open as descriptor {descriptor}")
