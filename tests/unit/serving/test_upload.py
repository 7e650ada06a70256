"""Images in bodies: forms as another library writes them, names of any kind, and whatever else a client sends."""

import base64
from contextlib import suppress

import pytest
import requests
from hypothesis import example, given, strategies

from trainer.serving.limits import Refused
from trainer.serving.upload import clean_name, read_data_address, read_upload

CONTENT = b"\x89PNG\r\n\r\n--not the boundary\r\n\x00\xff"


def form(fields: object) -> tuple[bytes, str]:
    """Body and media type of a form, by requests."""
    made = requests.Request("POST", "http://x/", files=fields).prepare()  # type: ignore[arg-type]
    assert isinstance(made.body, bytes)
    return made.body, made.headers["Content-Type"]


@pytest.mark.parametrize("name", ["cat.jpg", "my cat.jpg", "Kätzchen 猫.jpg", 'a "b".png', "a;b=c.png", "it's.png"])
def test_forms(name: str) -> None:
    body, media_type = form([("note", (None, b"text")), ("picture", (name, CONTENT, "image/png"))])
    found = read_upload(body, media_type)
    assert found.content == CONTENT
    assert found.name == name
    assert read_upload(body, media_type, "other.png").name == "other.png"


def test_a_browser_writes_names_as_utf8() -> None:
    head = 'Content-Disposition: form-data; name="file"; filename="Kätzchen %22x%22.jpg"\r\nContent-Type: image/jpeg'
    body = b"--b\r\n" + head.encode() + b"\r\n\r\n" + CONTENT + b"\r\n--b--\r\n"
    found = read_upload(body, 'multipart/form-data; boundary="b"')
    assert (found.content, found.name) == (CONTENT, 'Kätzchen "x".jpg')


def test_a_field_without_a_file_name() -> None:
    body, media_type = form([("image", (None, CONTENT))])
    assert read_upload(body, media_type).content == CONTENT


def test_several_files() -> None:
    """None is lost in silence; an empty field of a browser is no file, and a text beside a file no picture."""
    body, media_type = form([("image", ("a.png", CONTENT)), ("image", ("b.png", CONTENT)), ("more", ("c.png", b"x"))])
    with pytest.raises(Refused, match="the form has 3 files") as refused:
        read_upload(body, media_type)
    assert refused.value.status == 422
    body, media_type = form([("more", ("x.png", b"")), ("file", (None, b"a.png")), ("image", ("a.png", CONTENT))])
    found = read_upload(body, media_type)
    assert (found.content, found.name) == (CONTENT, "a.png")
    body, media_type = form([("image", ("x.png", b""))])
    with pytest.raises(Refused, match="empty"):
        read_upload(body, media_type)


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/x-odd; q=1", "application/octet-stream", "", "IMAGE/PNG"])
def test_raw_bodies(media_type: str) -> None:
    found = read_upload(CONTENT, media_type, "C:\\pics\\..\\x.png")
    assert (found.content, found.name) == (CONTENT, "x.png")


REFUSED = {
    ("text/plain", b"x"): (415, "text/plain: not a picture"),
    ("application/xml", b"x"): (415, "not a picture"),
    ("image/png", b""): (422, "empty"),
    ("multipart/form-data", b"x"): (400, "without a boundary"),
    ("multipart/form-data; boundary=b", b"x"): (400, "incomplete"),
    ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b"): (400, "incomplete"),
    ("multipart/form-data; boundary=b", b"--b--"): (422, "has no file"),
    ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\ny\r\n--b--"): (
        422,
        "has no file",
    ),
}


@pytest.mark.parametrize("given_body", REFUSED, ids=lambda pair: ascii(pair)[:60])
def test_refused(given_body: tuple[str, bytes]) -> None:
    status, text = REFUSED[given_body]
    with pytest.raises(Refused, match=text) as refused:
        read_upload(given_body[1], given_body[0])
    assert refused.value.status == status


@given(strategies.binary(max_size=200), strategies.sampled_from(["b", 'b"', "", "\u00e9", "b; boundary=c"]))
@example(b"--b\r\nfilename*=x\r\n\r\n\r\n--b--", "b")
@example(b"--b\r\n;filename*=\"utf-8''%ff\"\r\n\r\nx\r\n--b--", "b")
def test_whatever_a_form_holds(body: bytes, boundary: str) -> None:
    for whole in (body, b"--b\r\n" + body + b"\r\n--b--\r\n"):
        with suppress(Refused):  # and nothing else
            assert read_upload(whole, f"multipart/form-data; boundary={boundary}").content


@given(strategies.text(max_size=300))
@example("..")
@example("../../etc/passwd")
@example("a/b\\c")
@example("\ud800\x00\n.png")
def test_names(text: str) -> None:
    name = clean_name(text)
    assert name
    assert not set(name) & {"/", "\\", "\0", "\n"}
    assert not name.startswith(".")
    assert len(name.encode()) <= 220


def test_data_addresses() -> None:
    text = base64.b64encode(CONTENT).decode()
    for kind in ("image/jpeg", "image/svg+xml", "application/octet-stream", ""):
        assert read_data_address(f"data:{kind};base64,{text}") == CONTENT
    address = "data:image/png;base64,"
    for wrong in (None, 3, "", text, "data:text/html;base64,eA==", "http://x/", f"{address}\u00e9", f"{address}a"):
        with pytest.raises(Refused):
            read_data_address(wrong)
