# C3: any privilege left to use: a capability in any set, or no_new_privs not set.
held = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
found = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(held[name], 16)]
if held.get("NoNewPrivs") != "1":
    found.append("no_new_privs is off")
if held.get("Seccomp") != "2":
    found.append("no seccomp filter")
print("ESCAPED: " + ", ".join(found) if found else "BLOCKED: no capability in any set, no_new_privs, a filter")
