"""Something between the program and an MLflow server: slow, or asking for a password."""

import base64
import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Proxy:
    """Passes every request on to `target`, `delay_s` later, and only with the right user and password if there is one.

    `uri` is its own address, without them.
    """

    def __init__(self, target: str, delay_s: float = 0.0, login: tuple[str, str] | None = None) -> None:
        wanted = login and "Basic " + base64.b64encode(":".join(login).encode()).decode()
        self.refused = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                time.sleep(delay_s)
                # The health check of a real server with basic auth asks for no password either.
                if wanted and self.path != "/health" and self.headers.get("Authorization") != wanted:
                    proxy.refused += 1
                    return self.answer(401, {"WWW-Authenticate": 'Basic realm="mlflow"'}, b"not you")
                there = http.client.HTTPConnection(urlsplit(target).netloc, timeout=60)
                headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
                there.request(self.command, self.path, body, headers)
                response = there.getresponse()
                kept = {key: value for key, value in response.getheaders() if key.lower() == "content-type"}
                return self.answer(response.status, kept, response.read())

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for key, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_arguments: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
