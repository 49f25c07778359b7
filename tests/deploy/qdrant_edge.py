#!/usr/bin/env python
"""Stands for Qdrant's own entry point: its engine in our server, and what probes ask over HTTP.

Options of a peer are taken and ignored: there is one alone.
"""

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from services.standalone.qdrant_edge.__main__ import main

FOLDER = "/qdrant/storage"
HTTP_PORT, GRPC_PORT = 6333, 6334


class Probe(BaseHTTPRequestHandler):
    """Well as soon as, and as long as, the server takes connections."""

    def do_GET(self) -> None:
        try:
            socket.create_connection(("127.0.0.1", GRPC_PORT), 2).close()
            self.send_response(200)
        except OSError:
            self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("", HTTP_PORT), Probe)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.argv[1:] = ["--folder", FOLDER, "--host", "0.0.0.0"]
    main()
