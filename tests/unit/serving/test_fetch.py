"""Images from Label Studio's host: what is fetched, with what, and everything that is not."""

import json
from collections.abc import Iterator

import pytest

from tests.support.studio import TOKEN, Host
from trainer.serving.fetch import ImageHost
from trainer.serving.limits import Limits, Refused


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Label Studio, and another host."""
    made = Host(), Host()
    yield made
    for one in made:
        one.close()


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
    studio.close()
    with pytest.raises(Refused, match="gives no answer") as refused:
        fetch(studio, "/data/x")
    assert refused.value.status == 502


PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"


def test_a_personal_token_is_exchanged_once(hosts: tuple[Host, Host]) -> None:
    studio, _ = hosts
    refresh = "/ls/api/token/refresh/"
    studio.answers[refresh] = (200, {}, b'{"access": "short-lived"}')
    host = ImageHost(f"{studio.address}/ls", PERSONAL, Limits())
    for _ in range(2):
        assert host.fetch("/data/x.jpg") == b"picture"
    assert studio.asked == [(refresh, None)] + [("/ls/data/x.jpg", "Bearer short-lived")] * 2
    assert [json.loads(body) for body in studio.sent] == [{"refresh": PERSONAL}]


@pytest.mark.parametrize("answer", [(401, b"{}"), (200, b"no JSON"), (200, b"[]"), (200, b'{"access": "a\\r\\nb"}')])
def test_a_personal_token_that_is_refused(answer: tuple[int, bytes], hosts: tuple[Host, Host]) -> None:
    studio, _ = hosts
    studio.answers["/api/token/refresh/"] = (answer[0], {}, answer[1])
    with pytest.raises(Refused, match="LABEL_STUDIO_API_KEY") as refused:
        ImageHost(studio.address, PERSONAL, Limits()).fetch("/data/x.jpg")
    assert PERSONAL not in refused.value.text
    assert [path for path, _ in studio.asked] == ["/api/token/refresh/"]
