# C3: make a set-id program where the operator's files are: outside no mount is nosuid, and whoever runs it becomes its owner.
import ctypes, os, struct, sys
directory = sys.argv[1]
path = os.path.join(directory, "set-id")
syscall = ctypes.CDLL(None, use_errno=True).syscall


def plain():
    open(path, "wb").close()
    return path


def openat2():
    # struct open_how: its mode lies in memory, where no filter reads it.
    how = struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    if syscall(437, -100, path.encode(), how, len(how)) < 0:
        raise OSError(ctypes.get_errno(), "openat2")


ATTEMPTS = {
    "chmod": lambda: os.chmod(plain(), 0o4755),
    "fchmod": lambda: os.fchmod(os.open(plain(), os.O_WRONLY), 0o2755),
    "open": lambda: os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755),
    "mknod": lambda: os.mknod(path, 0o104755),
    "openat2": openat2,
}
os.umask(0)
made = []
for name, attempt in ATTEMPTS.items():
    if os.path.exists(path):
        os.unlink(path)
    try:
        attempt()
    except OSError:
        continue
    if os.stat(path).st_mode & 0o6000:
        made.append(name)
if os.path.exists(path):
    os.unlink(path)
if made:
    print(f"ESCAPED: a set-id file by {', '.join(made)}")
    raise SystemExit(0)
print(f"BLOCKED: {len(ATTEMPTS)} ways to make a set-id file, none did")
raise SystemExit(1)
