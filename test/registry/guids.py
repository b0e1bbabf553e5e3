"""A registry with GUIDs: what Confluent's has, and no other that is to be had.

    guids.py REGISTRY

Stands before the registry at a URL and adds to its answers what they lack of it: the
GUID of a schema, and the path where a schema is found by it.  Answers a line of input
with its own URL, and ends with its input.  A GUID here is made of the id.
"""
import http.client
import http.server
import json
import re
import sys
import threading
import urllib.parse
import uuid

REGISTRY = urllib.parse.urlsplit(sys.argv[1])
PREFIX = "67756964-0000-4000-8000-0000"


def guid_of(schema_id):
    return "%s%08x" % (PREFIX, schema_id)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def ask(self, path, body):
        registry = http.client.HTTPConnection(REGISTRY.netloc)
        kept = {name: self.headers[name] for name in ("Content-Type", "Accept") if name in self.headers}
        registry.request(self.command, path, body, kept)
        answer = registry.getresponse()
        result = answer.status, answer.getheader("Content-Type", ""), answer.read()
        registry.close()
        return result

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        by_guid = re.search(r"/schemas/guids/([0-9a-f-]{36})", self.path)
        if by_guid and not by_guid[1].startswith(PREFIX):
            answer = 404, "application/json", b'{"error_code": 40403, "message": "Schema not found"}'
        else:
            path = self.path
            if by_guid:
                path = REGISTRY.path + "/schemas/ids/%d" % int(by_guid[1][len(PREFIX):], 16)
            answer = self.ask(path, body)
        status, content_type, content = answer
        if status == 200 and content.startswith(b"{"):
            members = json.loads(content)
            if "id" in members:
                members["guid"] = guid_of(members["id"])
            elif by_guid:
                members["guid"] = str(uuid.UUID(by_guid[1]))
            content = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = handle_request

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in sys.stdin:
    print("http://127.0.0.1:%d%s" % (server.server_port, REGISTRY.path), flush=True)
