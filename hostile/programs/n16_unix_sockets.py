# N16, N17: Unix sockets of the host, by path and by abstract name (`@name`). Arguments: the sockets.
import socket, sys
last = ""
for name in sys.argv[1:]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(5)
            s.connect("\0" + name[1:] if name.startswith("@") else name)
            print(f"ESCAPED: connected to {name}")
            raise SystemExit(0)
    except OSError as error:
        last = f"{name}: {error.strerror}"
print(f"BLOCKED: {len(sys.argv) - 1} sockets, the last {last}")
raise SystemExit(1)
