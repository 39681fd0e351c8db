# N17: speak to whatever listens in this network, on its own port. Argument: `all`, or ports.
import socket, sys
loopback = []
if sys.argv[1] == "all":
    for table, family, address in (("tcp", socket.AF_INET, "127.0.0.1"), ("tcp6", socket.AF_INET6, "::1")):
        try:
            rows = open(f"/proc/net/{table}").read().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            local, state = row.split()[1], row.split()[3]
            if state == "0A":
                loopback.append((family, address, int(local.rsplit(":", 1)[1], 16)))
else:
    loopback = [(socket.AF_INET, "127.0.0.1", int(port)) for port in sys.argv[1:]]
answers = 0
for family, address, port in loopback:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(3)
            s.connect((address, port))
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if s.recv(10):
                print(f"ESCAPED: an answer from {address} port {port}")
                raise SystemExit(0)
    except OSError:
        pass
print(f"BLOCKED: {len(loopback)} listening ports, none answers")
raise SystemExit(1)
