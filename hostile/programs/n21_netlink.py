# N21: change this network's addresses and routes over netlink, without any tool. Argument: link, address or route.
import os, socket, struct, sys
what = sys.argv[1]
LO = 1
NEWLINK, NEWADDR, DELROUTE = 16, 20, 25
if what == "link":  # set a flag that is already what it will be
    kind, flags, body = NEWLINK, 5, struct.pack("BBHiII", 0, 0, 0, LO, 1, 1)
elif what == "address":
    attribute = struct.pack("HH4s", 8, 2, socket.inet_aton("198.51.100.77"))
    kind, flags, body = NEWADDR, 0x605, struct.pack("BBBBI", 2, 32, 0, 0, LO) + attribute
else:
    table = struct.pack("HHI", 8, 15, 255)
    kind, flags, body = DELROUTE, 5, struct.pack("BBBBBBBBI", 2, 0, 0, 0, 255, 0, 0, 0, 0) + table
message = struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0) + body
try:
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.bind((0, 0))
    s.send(message)
    reply = s.recv(4096)
except OSError as error:
    print(f"BLOCKED: {what}: {error.strerror}")
    raise SystemExit(1)
error = -struct.unpack("i", reply[16:20])[0]
if error in (0, 3):  # done, or no such route: permitted in either case
    print(f"ESCAPED: {what}: the kernel took the request")
    raise SystemExit(0)
print(f"BLOCKED: {what}: {os.strerror(error)}")
raise SystemExit(1)
