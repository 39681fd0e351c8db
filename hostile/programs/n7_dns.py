# N7, N9: ask a resolver for a name. Arguments: type, name, server (`cell` for the one that this place is told to use) and udp or tcp.
import random, socket, struct, sys, time

TYPES = {"A": 1, "NULL": 10, "TXT": 16, "AAAA": 28, "SRV": 33, "HTTPS": 65, "ANY": 255}


def servers():
    for line in open("/etc/resolv.conf"):
        if line.startswith("nameserver"):
            yield line.split()[1], 53


def question(kind, name, number):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", TYPES[kind], 1)


def ask(server, kind, name, transport):
    number = random.randrange(65536)
    message = question(kind, name, number)
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM) as s:
        s.settimeout(2)
        s.connect(server)
        if transport == "udp":
            s.send(message)
            return s.recv(4096)
        s.sendall(struct.pack(">H", len(message)) + message)
        head = s.recv(2, socket.MSG_WAITALL)
        return s.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL) if len(head) == 2 else b""


kind, name, where, transport = sys.argv[1:5]
if where == "cell":
    server = next(servers(), None)
else:
    host, _, port = where.rpartition(":")
    server = (host.strip("[]"), int(port))
if server is None:
    print("COULD NOT: no resolver is named")
    raise SystemExit(2)
start = time.monotonic()
try:
    answer = ask(server, kind, name, transport)
except socket.timeout:
    print(f"COULD NOT: no answer from {server[0]}")
    raise SystemExit(2)
except OSError as error:
    print(f"BLOCKED: {server[0]}: {error.strerror}")
    raise SystemExit(1)
took = 1000 * (time.monotonic() - start)
code = answer[3] & 15 if len(answer) > 3 else None
if code == 0 and struct.unpack(">H", answer[6:8])[0]:
    print(f"ESCAPED: {name} {kind} was answered")
    raise SystemExit(0)
print(f"BLOCKED: {name} {kind}: response code {code} after {took:.1f} ms")
raise SystemExit(1)
