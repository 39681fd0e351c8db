# C12: as many open files as the machine gives. Argument: how many would be an escape.
import os, resource, sys
enough = int(sys.argv[1])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
opened = 0
try:
    while opened < enough:
        os.open("/dev/null", os.O_RDONLY)
        opened += 1
except OSError as error:
    print(f"BLOCKED: {opened} open files: {error.strerror}")
    raise SystemExit(1)
print(f"ESCAPED: {opened} open files")
