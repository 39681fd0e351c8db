# N4: UDP to anything. Arguments: address, port.
import socket, sys, time
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
start = time.monotonic()
try:
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.settimeout(2)
    s.connect((address, port))
    for _ in range(3):  # an ICMP error shows at the call after the one that caused it
        s.send(b"ping")
        time.sleep(0.01)
    answer = s.recv(100)
    print(f"ESCAPED: {len(answer)} bytes from {address}")
    raise SystemExit(0)
except socket.timeout:
    print(f"COULD NOT: silence from {address}")
    raise SystemExit(2)
except OSError as error:
    print(f"BLOCKED: {address}: {error.strerror} after {1000 * (time.monotonic() - start):.1f} ms")
    raise SystemExit(1)
