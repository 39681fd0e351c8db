# N10, N11, N14b: say one name to the resolver and another to the server. The handshake is written by hand, so that it can be wrong
# in every way. Arguments: variant, the permitted name, host and port to connect to (the name itself, in a cell).
import os, socket, struct, sys, time
variant, allowed, host, port = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


def extension(kind, body):
    return struct.pack(">HH", kind, len(body)) + body


def server_names(*names, kind=0):
    entries = b"".join(bytes([kind]) + struct.pack(">H", len(n)) + n for n in names)
    return extension(0, struct.pack(">H", len(entries)) + entries)


def hello(extensions):
    body = b"\x03\x03" + os.urandom(32) + b"\x20" + os.urandom(32)
    suites = b"\x13\x01\x13\x02\x13\x03\xc0\x2f\xc0\x30"
    body += struct.pack(">H", len(suites)) + suites + b"\x01\x00"
    extensions += extension(43, b"\x02\x03\x04") + extension(10, b"\x00\x02\x00\x1d")
    extensions += extension(13, b"\x00\x06\x04\x03\x08\x04\x08\x07")
    extensions += extension(51, struct.pack(">HHH", 36, 29, 32) + os.urandom(32))
    body += struct.pack(">H", len(extensions)) + extensions
    return b"\x01" + struct.pack(">I", len(body))[1:] + body


def records(message, size=16384):
    parts = [message[i : i + size] for i in range(0, len(message), size)]
    return [b"\x16\x03\x01" + struct.pack(">H", len(part)) + part for part in parts]


name = allowed.encode()
ECH = extension(0xFE0D, b"\x00\x00\x01\x00\x01\x01\x00\x20" + os.urandom(32) + b"\x00\x80" + os.urandom(128))
MESSAGES = {
    "right": lambda: records(hello(server_names(name))),
    "split": lambda: [bytes([b]) for r in records(hello(server_names(name)), 37) for b in r],
    "other": lambda: records(hello(server_names(b"evil.example"))),
    "none": lambda: records(hello(b"")),
    "ip": lambda: records(hello(server_names(b"192.0.2.1"))),
    "several": lambda: records(hello(server_names(name, b"evil.example"))),
    "twice": lambda: records(hello(server_names(name) + server_names(b"evil.example"))),
    "nul": lambda: records(hello(server_names(name + b"\0.evil.example"))),
    "prefix": lambda: records(hello(server_names(b"evil." + name))),
    "suffix": lambda: records(hello(server_names(name + b".evil.example"))),
    "long": lambda: records(hello(server_names(b"a" * 300 + b"." + name))),
    "ech": lambda: records(hello(server_names(b"outer.evil.example") + ECH)),
    "notls": lambda: [b"GET / HTTP/1.1\r\nHost: " + name + b"\r\n\r\n"],
    "garbage": lambda: [b"\x16\x03\x01\xff\xff" + os.urandom(400)],
    "never": lambda: [records(hello(server_names(name)))[0][:40]],
}
permitted = variant in ("right", "split")
start = time.monotonic()
try:
    s = socket.create_connection((host, port), 5)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.settimeout(30 if variant == "never" else 5)
    for piece in MESSAGES[variant]():
        s.sendall(piece)
    answer = s.recv(100)
except socket.timeout:
    print(f"COULD NOT: {variant}: neither an answer nor a refusal")
    raise SystemExit(2)
except OSError as error:
    print(f"BLOCKED: {variant}: {error.strerror or error}")
    raise SystemExit(1)
took = time.monotonic() - start
if answer.startswith(b"\x15"):
    print(f"BLOCKED: {variant}: a TLS alert after {took:.3f} s")
    raise SystemExit(1)
if answer:
    print(f"{'DONE' if permitted else 'ESCAPED'}: {variant}: {len(answer)} bytes from the far side")
    raise SystemExit(0)
print(f"BLOCKED: {variant}: closed after {took:.3f} s")
raise SystemExit(1)
