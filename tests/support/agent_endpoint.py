"""An agent's notification endpoint on loopback: real HTTPS, which can be told to fail, and to be down."""

import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE


@dataclass
class Received:
    path: str
    authorization: str
    content_type: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class AgentEndpoint:
    """Answers 204, or what `answers` holds next: (status, headers, body)."""

    def __init__(self, certificates: Path, port: int = 0) -> None:
        self.received: list[Received] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.lock = threading.Lock()
        self.is_open = threading.Event()  # cleared: it takes the request and does not answer
        self.is_open.set()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with endpoint.lock:
                    head = (self.headers["Authorization"], self.headers["Content-Type"])
                    endpoint.received.append(Received(self.path, *head, body))
                    status, headers, answer = endpoint.answers.pop(0) if endpoint.answers else (204, {}, b"")
                endpoint.is_open.wait(timeout=PATIENCE)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Who hung up early is what some tests are about."""

        self.server = Server(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/ciba"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
