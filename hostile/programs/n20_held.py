# N20, N22: hold a permitted connection while the ground changes: the test narrows the policy, or kills the gate, once it sees the
# file `held`. Arguments: the permitted name, host, port, seconds after which the connection must be gone.
import socket, ssl, sys, time
allowed, host, port, patience = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
handshake = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=allowed)
try:
    handshake.do_handshake()
except ssl.SSLWantReadError:
    pass
s = socket.create_connection((host, port), 5)
s.settimeout(5)
s.sendall(outgoing.read())
if not s.recv(100):
    print("COULD NOT: the permitted connection was refused")
    raise SystemExit(2)
open("held", "w").close()
start = time.monotonic()
while time.monotonic() - start < patience:
    try:
        s.sendall(b"x")
        if not s.recv(100):
            raise ConnectionResetError("closed")
    except OSError as error:
        print(f"BLOCKED: the connection ended after {time.monotonic() - start:.2f} s: {error}")
        raise SystemExit(1)
    time.sleep(0.02)
print(f"ESCAPED: the connection still works after {patience} s")
