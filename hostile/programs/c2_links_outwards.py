# C2: leave one's own directories through a symbolic link, a hard link or dots. Argument: a file outside.
import os, sys
outside = sys.argv[1]
os.makedirs("links", exist_ok=True)
ways = []
for name, make in (("symbolic", os.symlink), ("hard", os.link)):
    path = f"links/{name}"
    try:
        if os.path.lexists(path):
            os.unlink(path)
        make(outside, path)
        ways.append(path)
    except OSError:
        pass
ways.append(("../" * 40).rstrip("/") + outside)
ways.append("/proc/self/root" + outside)
ways.append("/proc/self/cwd/" + "../" * 40 + outside.lstrip("/"))
for way in ways:
    try:
        with open(way, "rb") as file:
            print(f"ESCAPED: {way} leads outside: {len(file.read())} bytes")
            raise SystemExit(0)
    except OSError as error:
        last = error.strerror
print(f"BLOCKED: {len(ways)} ways out, the last: {last}")
raise SystemExit(1)
