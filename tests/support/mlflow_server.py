"""A real MLflow server on this machine, and a proxy in front of it."""

import base64
import http.client
import os
import shutil
import socket
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.program import Command

START_SECONDS = 120.0
"""Longest wait for a server that starts, in seconds."""


class Server:
    """A real MLflow server on loopback, with a sqlite store, which begins as a copy of `tables` where that is given."""

    def __init__(self, folder: Path, tables: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        if tables is not None:
            shutil.copyfile(tables, self.database)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.command: Command | None = None
        self.log = ""

    def start(self) -> "Server":
        """Start it, and return when it answers."""
        words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.database}"]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        # Without its job queue, which nothing here needs: eight more processes that import MLflow.
        environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.command = Command(words, self.folder, environment)
        self.command.wait_for(self._answers, "an answer of the MLflow server", START_SECONDS)
        return self

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
        except OSError:
            time.sleep(0.2)
            return False
        return True

    def kill(self) -> None:
        """Kill it as the end of its machine would; it can be started again."""
        if self.command is not None:
            self.command.kill()
            self.log += self.command.output()
            self.command = None

    def freeze(self) -> None:
        """Stop it without ending it: the kernel still accepts connections, which get no answer."""
        assert self.command is not None
        self.command.pause()

    def thaw(self) -> None:
        assert self.command is not None
        self.command.resume()

    @property
    def database(self) -> Path:
        return self.folder / "server.db"

    def output(self) -> str:
        """Log of all starts so far."""
        return self.log + (self.command.output() if self.command is not None else "")

    def received(self) -> int:
        """Number of requests so far that wanted to change something, by the server's own log."""
        changing = ("POST", "PUT", "PATCH", "DELETE")
        lines = self.output().splitlines()
        return sum(any(f'"{verb} ' in line for verb in changing) and "/search" not in line for line in lines)


class Proxy:
    """Passes every request on to `target`, `delay_s` seconds later, and only with the right `login` if there is one.

    `uri` is its own address, without user and password.
    """

    def __init__(self, target: str, delay_s: float = 0.0, login: tuple[str, str] | None = None) -> None:
        expected = login and "Basic " + base64.b64encode(":".join(login).encode()).decode()
        self.refused = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                time.sleep(delay_s)
                # The health check of a real server with basic auth asks for no password either.
                if expected and self.path != "/health" and self.headers.get("Authorization") != expected:
                    proxy.refused += 1
                    return self.answer(401, {"WWW-Authenticate": 'Basic realm="mlflow"'}, b"not you")
                connection = http.client.HTTPConnection(urlsplit(target).netloc, timeout=60)
                headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                passed = {key: value for key, value in response.getheaders() if key.lower() == "content-type"}
                return self.answer(response.status, passed, response.read())

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for key, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_arguments: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
