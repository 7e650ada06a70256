"""Who may ask, what every answer has, and what the log says."""

import base64

import pytest

from tests.support.serving import InProcess, MakeInProcess, image_bytes
from trainer.serving.guard import _parts, version_headers
from trainer.serving.static_files import PageFile

TOKEN = "a-token-0123456789"
PAGE = {"": PageFile(b"<p>", "text/html"), "app.js": PageFile(b"1", "text/javascript")}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_the_token_is_asked_for(make_service: MakeInProcess) -> None:
    service = make_service(token=TOKEN, page=PAGE)
    for headers in (
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"token {TOKEN}"},
        {"authorization": basic(f"user:{TOKEN}")},
        {"token": TOKEN},
        {"token": TOKEN, "host": "cats.example:8000", "origin": "http://other.example"},
    ):
        assert service.ask("GET", "/version", headers=headers).status == 200, headers
    for headers in (
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Digest {TOKEN}"},
        {"authorization": basic(TOKEN)},
        {"authorization": "Basic \u00e9"},
        {"token": ""},
        {"token": "\u00ff" * 20},
    ):
        answer = service.ask("POST", "/predict", image_bytes(), headers)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), headers
        assert "token" in answer.json["error"]
    for path in ("/health", "/ready", "/", "/app.js"):
        assert service.ask("GET", path).status == 200
    for method, path in (("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/nothing"), ("POST", "/app.js")):
        assert service.ask(method, path).status == 401


def test_strange_pages_cannot_use_it(make_service: MakeInProcess) -> None:
    """Without a token: a name that leads here (DNS rebinding), and a page that sends its requests here."""
    service = make_service()
    for host in ("127.0.0.1:8000", "localhost", "127.0.0.5", "[::1]:8000"):
        assert service.ask("GET", "/version", headers={"host": host}).status == 200
        assert service.ask("GET", "/version", headers={"host": host, "origin": f"http://{host}"}).status == 200
    for host in ("evil.example", "", "127.0.0.1.evil.example", "0.0.0.0", "[::1", "127.0.0.1@evil.example"):
        assert service.ask("GET", "/version", headers={"host": host}).status == 403, host
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1.evil.example"):
        answer = service.ask("POST", "/wrong", image_bytes(), {"origin": origin})
        assert answer.status == 403, origin


def test_every_answer_names_the_version(make_service: MakeInProcess) -> None:
    service = make_service()
    version = service.service.versions.current.version
    for method, path in (("GET", "/health"), ("GET", "/nothing"), ("POST", "/predict"), ("PUT", "/predict")):
        answer = service.ask(method, path)
        assert answer.headers["x-model-version"] == version
        assert answer.headers["x-model"] == "cats 0"
        assert "script" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_names_of_any_kind_stand_in_headers(make_service: MakeInProcess) -> None:
    served = make_service().service.versions.current
    served.model.origin.update(name='Kätzchen\r\nX: "1" 猫', version="3", alias="champion")
    headers = version_headers(served)
    assert headers["X-Model"] == "K%C3%A4tzchen%0D%0AX: %221%22 %E7%8C%AB"
    assert all(value.isascii() and value.isprintable() for value in headers.values())


@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18, 2**18 + 1, 2**19, 2**19 + 5])
def test_long_answers_go_in_pieces(size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    parts = list(_parts({"type": "http.response.body", "body": body, "more_body": False}))
    assert b"".join(part["body"] for part in parts) == body
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]
    assert len(parts) == max(1, -(-size // 2**18))


def test_the_log(make_service: MakeInProcess) -> None:
    service: InProcess = make_service(token=TOKEN)
    content = image_bytes()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "image/png"}
    service.ask("POST", "/predict?name=secret-name.png", content, headers)
    service.ask("GET", "/a\n\x1b[31m" + "b" * 1000, headers=headers)
    service.ask("GET", f"/version?token={TOKEN}")
    first, second, third = service.lines()
    assert {key: first[key] for key in ("event", "method", "path", "status", "width", "height", "batch")} == {
        "event": "request",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "width": 83,
        "height": 61,
        "batch": 1,
    }
    assert first["bytes_in"] == len(content)
    assert first["bytes_out"] > 100
    assert first["seconds"] > 0
    assert first["version"] == service.service.versions.current.version
    assert (second["status"], len(second["path"])) == (404, 200)
    assert third["status"] == 401
    text = service.out.getvalue()
    assert text.isascii()
    for never in (TOKEN, "secret-name", "\x1b"):
        assert never not in text


def test_a_fault_of_the_service_is_one_line(make_service: MakeInProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service()
    monkeypatch.setattr(service.service.versions, "listing", lambda: 1 / 0)  # no request makes this so
    answer = service.ask("GET", "/versions")
    assert (answer.status, list(answer.json)) == (500, ["error"])
    assert "ZeroDivisionError" not in answer.content.decode()
    error, request = service.lines()
    assert (error["event"], error["path"], request["status"]) == ("error", "/versions", 500)
    assert "ZeroDivisionError" in error["error"]
