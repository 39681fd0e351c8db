# Opens a connection with a TLS handshake's first message and reads what the other side sends. Arguments: name, host, port,
# bytes, connections. Prints the nanoseconds of each connection, up to its last byte, one a line.
import socket, ssl, sys, time
name, host, port, wanted, connections = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
context = ssl.create_default_context()
buffer = bytearray(1 << 20)
for _ in range(connections):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    start = time.monotonic_ns()
    with socket.socket(address[0], socket.SOCK_STREAM) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.connect(address[4])
        s.sendall(hello)
        got = 0
        while got < wanted:
            n = s.recv_into(buffer)
            if n == 0:
                sys.exit(f"closed after {got} bytes")
            got += n
    print(time.monotonic_ns() - start)
