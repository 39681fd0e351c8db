# C1: find a value in the environment of any other process. Argument: the value.
import os, sys
wanted = sys.argv[1].encode()
seen = 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:
        continue
    seen += 1
    if wanted in environment:
        print(f"ESCAPED: found in the environment of process {pid}")
        raise SystemExit(0)
print(f"BLOCKED: not in any of the {seen} environments that can be read")
raise SystemExit(1)
