# C10: the files through which the kernel is made to run a program or to obey. Opened for writing, never written. Arguments: the paths.
import os, sys
last = "none"
for path in sys.argv[1:]:
    try:
        os.close(os.open(path, os.O_WRONLY))
        print(f"ESCAPED: {path} is open for writing")
        raise SystemExit(0)
    except OSError as error:
        last = f"{path}: {error.strerror}"
print(f"BLOCKED: {len(sys.argv) - 1} files, the last {last}")
raise SystemExit(1)
