# C11: descriptors inherited from whoever started the cell, and a working directory left open outside.
import os
found = []
for name in os.listdir("/proc/self/fd"):
    if int(name) <= 2:
        continue
    try:
        target = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        continue
    if target != f"/proc/{os.getpid()}/fd" and not target.endswith("c11_descriptors.py"):
        found.append(f"{name} is {target}")
if found:
    print("ESCAPED: " + ", ".join(found))
    raise SystemExit(0)
print("BLOCKED: no descriptor but the three")
raise SystemExit(1)
