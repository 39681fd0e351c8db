# N18: as many connections as one gets, none of which ever speaks. Arguments: how many would be an escape, host, port.
import errno, resource, socket, sys
enough, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
held = []
for number in range(enough):
    try:
        s = socket.socket(address[0], socket.SOCK_STREAM)
        s.settimeout(5)
        s.connect(address[4])
        held.append(s)
    except OSError as error:
        if error.errno == errno.EMFILE:
            print(f"COULD NOT: only {number} descriptors")
            raise SystemExit(2)
        print(f"BLOCKED: connection {number}: {error}")
        raise SystemExit(1)
closed = 0
for s in held:
    s.setblocking(False)
    try:
        closed += s.recv(1) == b""
    except BlockingIOError:
        pass
    except OSError:
        closed += 1
if closed:
    print(f"BLOCKED: {closed} of {enough} connections were closed")
    raise SystemExit(1)
print(f"ESCAPED: {enough} silent connections are held open")
