# C1: read what is the operator's. Arguments: the paths.
import os, sys
for path in sys.argv[1:]:
    try:
        with open(path, "rb") as file:
            print(f"ESCAPED: {path}: {len(file.read())} bytes")
            raise SystemExit(0)
    except OSError as error:
        last = f"{path}: {error.strerror}"
print(f"BLOCKED: {len(sys.argv) - 1} paths, the last {last}")
raise SystemExit(1)
