# S1a, S2, S6: have a credential go where it must not. Arguments: what, the host, and for the control an address, a port and the
# authority that vouches for the server there.
#   own      a key of one's own, on a host that has a credential bound
#   header   one's own placeholder, in its header, to another host
#   query    one's own placeholder, in a query
#   body     one's own placeholder, in a body
#   another  a placeholder that was given to somebody else
import http.client, os, socket, ssl, sys

what, host = sys.argv[1:3]
address, port, authority = (sys.argv[3:] + [None] * 3)[:3] if len(sys.argv) > 3 else (host, 443, None)
# Without the protection there is a key in its place.
mine = os.environ.get("BOUND_API_KEY", "some-key-of-the-control")
method, target, headers, body = "GET", "/hello", {}, None
if what == "own":
    headers["x-api-key"] = "sk-planted"
elif what == "header":
    headers["x-api-key"] = mine
elif what == "query":
    target += "?key=" + mine
elif what == "body":
    method, body = "POST", "key=" + mine
elif what == "another":
    headers["x-api-key"] = mine[:-10] + "0123456789"

context = ssl.create_default_context(cafile=authority)
connection = http.client.HTTPSConnection(host, timeout=20)
try:
    raw = socket.create_connection((address, int(port)), timeout=20)
    connection.sock = context.wrap_socket(raw, server_hostname=host)
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
except OSError as error:
    print(f"COULD NOT: {error}")
    raise SystemExit(2)
if answer.status == 200:
    print(f"ESCAPED: {what} reached {host}")
    raise SystemExit(0)
if answer.status == 403 and answer.headers.get("wardroom-refused"):
    print(f"BLOCKED: {answer.read().decode()[:200]!r}")
    raise SystemExit(1)
print(f"COULD NOT: answered with {answer.status}")
raise SystemExit(2)
