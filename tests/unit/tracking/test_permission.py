"""The right to register is asked for before a training, by requests that change nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trainer import InputError
from trainer.tracking.permission import require_right_to_register


@contextmanager
def server(get: int, post: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server that gives these answers, and the requests that it has got."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            requests.append(f"{self.command} {self.path} {body}".strip())
            self.send_response(get if self.command == "GET" else post)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = answer

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{found.server_port}", requests
    finally:
        found.shutdown()
        found.server_close()


GET = "GET /api/2.0/mlflow/registered-models/get?name=my+cats"
POST = 'POST /api/2.0/mlflow/registered-models/set-tag {"name": "my cats"}'


@pytest.mark.parametrize(
    ("get", "post", "asked", "refused"),
    [
        (200, 403, [GET, POST], True),
        (200, 400, [GET, POST], False),  # a tag without a name: this user may set one
        (404, 403, [GET], False),  # anyone may make a new model
        (401, 403, [GET], False),  # said by the request for the run
        (403, 403, [GET], False),
    ],
)
def test_a_missing_right_is_found(
    get: int, post: int, asked: list[str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(get, post) as (uri, requests):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
        if refused:
            wanted = (
                r"the user 'anna' .* may not register a version of the model 'my cats' \(403\).*--registry.name NAME"
            )
            with pytest.raises(InputError, match=wanted):
                require_right_to_register("my cats")
        else:
            require_right_to_register("my cats")
        assert requests == asked


def test_nothing_is_asked_where_nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(200, 403) as (uri, requests):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        require_right_to_register(None)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///nowhere.db")
        require_right_to_register("my cats")
        assert requests == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # it is gone
    with pytest.raises(InputError, match=f"^tracking server {uri}: "):
        require_right_to_register("my cats")
