"""Images from Label Studio's host: what is fetched, with what, and everything that is not."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trainer.serving.fetch import ImageHost
from trainer.serving.limits import Limits, Refused

TOKEN = "studio-token-0123456789"


class Host:
    """A host that notes what it is asked for; `answers`: path -> status, headers, content."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append((self.path, self.headers.get("Authorization")))
                status, headers, content = host.answers.get(self.path, (200, {}, b"picture"))
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Label Studio, and another host."""
    made = Host(), Host()
    yield made
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def fetch(host: Host, address: str, **limits: float) -> bytes:
    return ImageHost(host.address, TOKEN, Limits(**limits)).fetch(address)  # type: ignore[arg-type]


def test_addresses_of_the_host(hosts: tuple[Host, Host]) -> None:
    studio, _ = hosts
    for address, path in {
        "/data/upload/1/x.jpg": "/data/upload/1/x.jpg",
        f"{studio.address}/data/upload/1/x.jpg": "/data/upload/1/x.jpg",
        "/data/local-files/?d=my cats/Kätzchen.jpg": "/data/local-files/?d=my%20cats/K%C3%A4tzchen.jpg",
        "/data/a%20b.jpg#part": "/data/a%20b.jpg",
        "/data/x\r\nHost: evil": "/data/xHost:%20evil",
    }.items():
        assert fetch(studio, address) == b"picture"
        assert studio.asked[-1] == (path, f"Token {TOKEN}")


def test_everything_else_is_refused_without_a_request(hosts: tuple[Host, Host]) -> None:
    studio, other = hosts
    name = studio.address.removeprefix("http://")
    port = studio.server.server_port
    for address in (
        f"{other.address}/data/x.jpg",
        f"//{other.address.removeprefix('http://')}/data/x.jpg",
        f"https://{name}/data/x.jpg",
        f"http://user@{name}/data/x.jpg",
        f"http://{name}@127.0.0.1:{other.server.server_port}/data/x.jpg",
        f"http://localhost:{port}/data/x.jpg",
        f"http://127.0.0.1:{port}0/data/x.jpg",
        f"http://127.0.0.1:{port + 1 if port < 65535 else port - 1}/data/x.jpg",
        "http://169.254.169.254/data/x",
        "http://[::1/data/x",
        "file:///etc/passwd",
        "s3://bucket/data/x.jpg",
        "/api/projects/1/export",
        "/data/../api/users",
        "/data/%2e%2e/api/users",
        "/data/..\\api",
        "/data",
        "data/x.jpg",
        "",
    ):
        with pytest.raises(Refused) as refused:
            fetch(studio, address)
        assert refused.value.status == 422, address
        assert TOKEN not in refused.value.text
    assert not studio.asked
    assert not other.asked


def test_redirects_stay_on_the_host(hosts: tuple[Host, Host]) -> None:
    studio, other = hosts
    studio.answers["/data/1"] = (302, {"Location": "/data/2"}, b"")
    studio.answers["/data/2"] = (307, {"Location": f"{studio.address}/data/3?a=b"}, b"")
    assert fetch(studio, "/data/1") == b"picture"
    assert [path for path, _ in studio.asked] == ["/data/1", "/data/2", "/data/3?a=b"]
    for place in (f"{other.address}/data/x", "//evil.example/data/x", "file:///etc/passwd", "/api/token", ""):
        studio.answers["/data/4"] = (302, {"Location": place}, b"")
        with pytest.raises(Refused):
            fetch(studio, "/data/4")
    assert not other.asked
    studio.answers["/data/5"] = (302, {"Location": "/data/5"}, b"")
    with pytest.raises(Refused, match="redirects more than"):
        fetch(studio, "/data/5")


def test_limits(hosts: tuple[Host, Host]) -> None:
    studio, _ = hosts
    studio.answers["/data/large"] = (200, {}, b"x" * 3_000_000)
    with pytest.raises(Refused) as refused:
        fetch(studio, "/data/large", body_bytes=2**20)
    assert refused.value.status == 413
    studio.answers["/data/secret"] = (403, {}, b"")
    with pytest.raises(Refused, match=r"answers 403; set LABEL_STUDIO_API_KEY"):
        fetch(studio, "/data/secret")
    studio.server.server_close()
    studio.server.shutdown()
    with pytest.raises(Refused, match="gives no answer") as refused:
        fetch(studio, "/data/x")
    assert refused.value.status == 502
