"""Rights are asked for before the work, by requests that change nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trainer import InputError
from trainer.tracking.permission import require_right_to_add_runs, require_right_to_register


@contextmanager
def server(get: int, post: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server that gives these answers, and the requests that it has got."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            requests.append(f"{self.command} {self.path} {body}".strip())
            self.send_response(get if self.command == "GET" else post)
            content = b'{"experiment": {"experiment_id": "7"}}'
            self.send_header("Content-Length", f"{len(content)}")
            self.end_headers()
            self.wfile.write(content)

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


FIND = "GET /api/2.0/mlflow/experiments/get-by-name?experiment_name=our+cats"
CREATE = 'POST /api/2.0/mlflow/runs/create {"experiment_id": "7", "start_time": "never"}'


@pytest.mark.parametrize(
    ("get", "post", "asked", "refused"),
    [
        (200, 403, [FIND, CREATE], "may not add a run to the experiment 'our cats' "),
        (200, 400, [FIND, CREATE], ""),  # the time: this user may add a run
        (404, 403, [FIND], ""),  # anyone may make a new experiment
        (403, 400, [FIND], "may not see the experiment 'our cats' "),
    ],
)
def test_who_may_not_add_a_run_is_told(
    get: int, post: int, asked: list[str], refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(get, post) as (uri, requests):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
        if refused:
            with pytest.raises(InputError, match=rf"the user 'anna' with this password {refused}\(403\)"):
                require_right_to_add_runs("our cats")
        else:
            require_right_to_add_runs("our cats")
        assert requests == asked
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///nowhere.db")
    require_right_to_add_runs("our cats")


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
