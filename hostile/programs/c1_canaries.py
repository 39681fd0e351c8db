# C1: take every key there is, as a thief of credentials does: by its usual name, through a link, and without waiting. Arguments: the paths.
import os, sys, tempfile
with tempfile.TemporaryDirectory() as room:
    for number, path in enumerate(sys.argv[1:]):
        try:
            link = os.path.join(room, str(number))
            os.symlink(path, link)
            with open(link, "rb") as file:
                size = len(file.read())
        except OSError as error:
            print(f"COULD NOT: {path}: {error.strerror}")
            raise SystemExit(2)
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except BlockingIOError:
            pass
print(f"DONE: {len(sys.argv) - 1} files, the last of {size} bytes")
