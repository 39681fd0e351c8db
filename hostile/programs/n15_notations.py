# N15: an address in the notations that C libraries still read. Arguments: port, notations of the loopback or of another inner address.
import socket, sys
port = int(sys.argv[1])
last = ""
for notation in sys.argv[2:]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(notation, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as s:
            s.settimeout(5)
            s.connect(address)
            s.sendall(b"GET")
            if s.recv(10):
                print(f"ESCAPED: {notation} was reached as {address[0]}")
                raise SystemExit(0)
            last = f"{notation}: closed"
    except socket.timeout:
        print(f"COULD NOT: {notation}: silence")
        raise SystemExit(2)
    except OSError as error:
        last = f"{notation}: {error.strerror}"
print(f"BLOCKED: {len(sys.argv) - 2} notations, the last {last}")
raise SystemExit(1)
