# C12: more temporary space than a cell has. Space is reserved, not written. Arguments: directory, MiB that would be an escape.
import os, sys
path, size = os.path.join(sys.argv[1], "wardroom-fill"), int(sys.argv[2]) << 20
descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
try:
    os.posix_fallocate(descriptor, 0, size)
except OSError as error:
    print(f"BLOCKED: {sys.argv[1]}: {error.strerror}")
    raise SystemExit(1)
finally:
    os.unlink(path)
print(f"ESCAPED: {size >> 20} MiB in {sys.argv[1]}")
