"""Before a peer of Qdrant starts: does it found a cluster, join one, or come back to its own?

A peer with an empty volume asks the others. If one of them is in a cluster it joins there, once the
peer that it was before, which cannot come back, is taken from the list. Only if all others say that
they are empty too does the first one found a cluster: a first peer that lost its volume would found
a second one else, and answer from it. Writes the address to join at; Qdrant's start reads it.
Needs the standard library alone.
"""

import json
import os
import re
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

SCHEME = os.environ.get("PEER_SCHEME", "http")
KEY = os.environ.get("QDRANT__SERVICE__API_KEY", "")
CERTIFICATE = os.environ.get("QDRANT__TLS__CERT", "")
AUTHORITY = os.environ.get("QDRANT__TLS__CA_CERT", "") or None
VOLUME = Path(os.environ.get("STORAGE", "/qdrant/storage"))
JOIN_AT = Path(os.environ.get("JOIN_AT", "/qdrant/init/join-at"))
PORT = int(os.environ.get("HTTP_PORT", "6333"))
ANSWER_SECONDS = 5
PAUSE_SECONDS = float(os.environ.get("PAUSE_SECONDS", "2"))
EMPTY = {"result": {"status": "empty"}}


def peers():
    """Every peer's host, the one that founds first; none if there is one peer alone."""
    hosts = [
        urlsplit(each.strip()).hostname or "" for each in os.environ["REALM_QDRANT_URL"].split(",")
    ]
    return [host for host in hosts if re.match(r".+-\d+\.", host)]


def call(method, host, path, port=PORT):
    """What a peer answers; None if it does not."""
    url = f"{SCHEME}://{host}:{port}{path}"
    request = urllib.request.Request(url, method=method, headers={"api-key": KEY})
    trust = ssl.create_default_context(cafile=AUTHORITY) if SCHEME == "https" else None
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=trust) as answer:
            return json.loads(answer.read()).get("result")
    except (OSError, ValueError):
        return None


def forget(own, host, known):
    """Has the peer that this one was before its volume was lost taken from the list; whether it
    could be."""
    dead = [
        number for number, peer in known.items() if urlsplit(peer.get("uri", "")).hostname == own
    ]
    for number in dead:
        say(f"{own} was peer {number} and lost its volume: {host} is told to forget that one")
        if not call("DELETE", host, f"/cluster/peer/{number}?force=true"):
            return False
    return True


def decide(own, others, first):
    """The peer to join at; empty: found a cluster; None: nobody can say yet."""
    said = {host: call("GET", host, "/cluster") for host in others}
    for host, answer in said.items():
        if answer and answer.get("status") == "enabled" and answer.get("peers"):
            return host if forget(own, host, answer["peers"]) else None
    all_empty = all(answer and answer.get("status") == "empty" for answer in said.values())
    return "" if first and all_empty else None


class Empty(BaseHTTPRequestHandler):
    """Says that this peer has nothing, while it waits."""

    def do_GET(self):
        body = json.dumps(EMPTY).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve():
    server = ThreadingHTTPServer(("", PORT), Empty)
    server.daemon_threads = True
    if SCHEME == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, os.environ["QDRANT__TLS__KEY"])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def say(words):
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main(name):
    hosts = peers()
    own = next((host for host in hosts if host.split(".")[0] == name), "")
    if not own or (VOLUME / "raft_state.json").exists():
        JOIN_AT.write_text("")
        say("comes back to what is in its volume" if own else "is the only peer")
        return
    serve()
    others = [host for host in hosts if host != own]
    say(f"its volume is empty: asks {', '.join(others) or 'nobody'}")
    while (found := decide(own, others, own == hosts[0])) is None:
        time.sleep(PAUSE_SECONDS)
    JOIN_AT.write_text(f"{SCHEME}://{found}:6335" if found else "")
    say(f"joins at {found}" if found else "all are empty: founds the cluster")


if __name__ == "__main__":
    main(os.environ.get("HOSTNAME", ""))
