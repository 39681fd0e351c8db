# C11: the cell's first process runs our own binary: its memory, its descriptors, its root.
import os
attempts = {
    "memory": lambda: os.open("/proc/1/mem", os.O_RDONLY),
    "descriptors": lambda: os.listdir("/proc/1/fd"),
    "root directory": lambda: os.listdir("/proc/1/root/"),
    "image, for writing": lambda: os.open("/proc/1/exe", os.O_WRONLY),
    "image, for reading": lambda: os.open("/proc/1/exe", os.O_RDONLY),
    "environment": lambda: open("/proc/1/environ", "rb").read(1),
}
last = ""
for what, attempt in attempts.items():
    try:
        attempt()
        print(f"ESCAPED: the {what} of process 1")
        raise SystemExit(0)
    except OSError as error:
        last = f"{what}: {error.strerror}"
print(f"BLOCKED: {len(attempts)} attempts on process 1, the last {last}")
raise SystemExit(1)
