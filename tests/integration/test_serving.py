"""serve.py as a process on loopback: start and end, load, a moving alias, and clients that mean no good."""

import http.client
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from mlflow import MlflowClient

from tests.support.program import Program
from tests.support.registry import add_version
from tests.support.serving import REQUEST_SECONDS, Serving, ask, image_bytes
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Contract, Segmenter

JPEG = {"Content-Type": "image/jpeg"}
NAME = "cats"
TOKEN = "a-token-0123456789"


def make_model(folder: Path, seed: int) -> None:
    """Save a small model with random weights, whose masks depend on `seed`."""
    torch.manual_seed(seed)
    segmenter = Segmenter(Contract(("_background_", "cat"), ((0, 0, 0), (0, 128, 0)), 64, width=8, depth=2))
    save_segmenter(segmenter.eval(), folder)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Program:
    """Program with a registry that has three versions of NAME; the first is the champion."""
    folder = tmp_path_factory.mktemp("serving")
    program = Program(folder / "program", tables=empty_store, variables={"OMP_NUM_THREADS": "1"})
    client = MlflowClient(program.store)
    for number in range(3):
        make_model(folder / f"model{number}", number)
        add_version(client, NAME, folder / f"model{number}", None)
    client.set_registered_model_alias(NAME, "champion", "1")
    return program


@pytest.fixture
def start(program: Program) -> Iterator[Callable[..., Serving]]:
    """Start the service of a registry's model and wait until it answers; ended at the end."""
    started: list[Serving] = []

    def make(*words: str, model: str = f"models:/{NAME}@champion", **variables: str) -> Serving:
        environment = program.environment(MLFLOW_TRACKING_URI=program.store, **variables)
        serving = Serving("--model", model, *words, environment=environment, folder=program.folder)
        started.append(serving)
        return serving.wait()

    yield make
    for one in started:
        one.command.kill()


def memory_bytes(serving: Serving) -> int:
    return int(psutil.Process(serving.command.pid).memory_info().rss)


# ------------------------------------------------------------------- start and end


def test_a_signal_finishes_what_is_there(start: Callable[..., Serving]) -> None:
    serving = start("--batch_size", "1")
    content, statuses = image_bytes(600, 900, 1, "JPEG"), []
    ask_it = lambda: statuses.append(serving.ask("POST", "/predict", content, JPEG).status)  # noqa: E731
    threads = [threading.Thread(target=ask_it) for _ in range(12)]
    for thread in threads:
        thread.start()
    serving.command.wait_for(lambda: "segtrainer_under_way 0\n" not in metrics(serving), "images under way")
    os.kill(serving.command.pid, signal.SIGTERM)
    ended = serving.command.end()
    for thread in threads:
        thread.join()
    assert ended.returncode == 143
    assert statuses == [200] * 12
    assert ended.stderr.splitlines()[-1] == "serve.py: stopped"
    assert "Traceback" not in ended.output
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["event"] for line in lines[:1] + lines[-1:]] == ["ready", "stopped"]
    assert sum(line.get("path") == "/predict" for line in lines) == 12


def metrics(serving: Serving) -> str:
    return serving.ask("GET", "/metrics").content.decode()


def test_wrong_starts(program: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        model = ["--model", f"models:/{NAME}@champion"]
        commands = {
            "port": [*model, "--port", f"{port}"],
            "host": [*model, "--port", "0", "--host", "192.0.2.1", "--token", TOKEN],
            "name": [*model, "--port", "0", "--host", "no.such.host.invalid", "--token", TOKEN],
            "queue": [*model, "--port", "0", "--queue", "trainer/serve.py"],
            "model": ["--model", "models:/dogs@champion", "--port", "0"],
            "folder": ["--model", "trainer", "--port", "0"],
        }
        ended = program.in_one_process("serve", commands)
    for case, said in {
        "port": f"--port {port}: cannot listen there",
        "host": "cannot listen there",
        "name": "no address of this machine",
        "queue": "--queue trainer/serve.py",
        "model": "models:/dogs@champion: no such model",
        "folder": "no model of this program",
    }.items():
        assert ended[case].returncode == 2, ended[case]
        assert said in ended[case].stderr
        assert ended[case].stderr.startswith("serve.py: ")
        assert "Traceback" not in ended[case].output


def test_killed_and_started_again(start: Callable[..., Serving], tmp_path: Path) -> None:
    """What was put into the queue is whole; the next start answers as the one before."""
    content, queue = image_bytes(300, 400, 1, "JPEG"), tmp_path / "queue"
    serving = start("--queue", str(queue))
    mask = serving.ask("POST", "/predict", content, JPEG).content
    stop = threading.Event()

    def put(number: int) -> None:
        while not stop.is_set():
            with suppress(OSError, http.client.HTTPException):
                serving.ask("POST", f"/wrong?name={number}-{time.monotonic_ns()}.jpg", content, JPEG)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    serving.command.wait_for(lambda: len(list(queue.glob("*.json"))) > 5, "files in the queue")
    os.kill(serving.command.pid, signal.SIGKILL)
    stop.set()
    for thread in threads:
        thread.join()
    for file in queue.glob("*.json"):
        record = json.loads(file.read_text())
        assert (queue / record["imagePath"]).read_bytes() == content
    again = start("--queue", str(queue))
    assert again.ask("POST", "/predict", content, JPEG).content == mask


def test_a_token_is_in_no_output(start: Callable[..., Serving]) -> None:
    serving = start("--host", "127.0.0.1", SEGTRAINER_TOKEN=TOKEN)
    assert serving.ask("GET", "/version").status == 401
    assert serving.ask("GET", "/version", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert serving.ask("GET", f"/version?token={TOKEN}").status == 401
    os.kill(serving.command.pid, signal.SIGTERM)
    assert TOKEN not in serving.command.end().output


# ------------------------------------------------------------------- the alias


@pytest.mark.long
def test_the_alias_moves_under_load(start: Callable[..., Serving], program: Program) -> None:
    """Twenty times: no request fails, every answer is of a version that there is, and is that version's."""
    client, serving = MlflowClient(program.store), start("--poll", "0.1")
    content = image_bytes(200, 260, 1, "JPEG")
    masks = {
        version: serving.ask("POST", f"/predict?version={version}", content, JPEG).array.tobytes()
        for version in ("1", "2", "3")
    }
    assert len(set(masks.values())) == 3
    stop, seen = threading.Event(), []

    def load() -> None:
        connection = serving.connect()
        while not stop.is_set():
            answer = ask(connection, "POST", "/predict", content, JPEG)
            seen.append((answer.status, answer.headers["x-model-version"]))
            if answer.status == 200:
                assert answer.array.tobytes() == masks[answer.headers["x-model-version"]]

    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load) for _ in range(4)]
        try:
            for number in range(20):
                version = f"{(number + 1) % 3 + 1}"
                client.set_registered_model_alias(NAME, "champion", version)
                answers = lambda: serving.ask("GET", "/version").json["version"]  # noqa: E731
                serving.command.wait_for(lambda: answers() == version, f"version {version}")  # noqa: B023
        finally:
            stop.set()
            client.set_registered_model_alias(NAME, "champion", "1")
        for one in loads:
            one.result()
    assert {status for status, _ in seen} == {200}
    assert {version for _, version in seen} == {"1", "2", "3"}
    assert len(seen) > 40
    assert len([line for line in serving.lines() if line["event"] == "swap"]) >= 20


# ------------------------------------------------------------------- clients that mean no good


@pytest.mark.long
def test_a_gigabyte(start: Callable[..., Serving]) -> None:
    """Refused at once where its length is stated, and where it is not as soon as it is too long; memory stays."""
    serving = start("--max_megabytes", "8")
    serving.ask("POST", "/predict", image_bytes(form="JPEG"), JPEG)
    before, most = memory_bytes(serving), 0

    def body() -> Iterator[bytes]:
        nonlocal most
        for _ in range(1024):
            most = max(most, memory_bytes(serving))
            yield b"\0" * 2**20

    for headers in ({"Content-Length": f"{2**30}"}, {"Transfer-Encoding": "chunked"}):
        with suppress(ConnectionError):  # the service may hang up before all is sent
            answer = serving.ask("POST", "/predict", body(), JPEG | headers)
            assert answer.status == 413
    statuses = [line["status"] for line in serving.lines() if line.get("path") == "/predict"]
    assert statuses == [200, 413, 413]
    assert most - before < 100 * 2**20
    assert serving.ask("POST", "/predict", image_bytes(form="JPEG"), JPEG).status == 200


@pytest.mark.long
def test_many_large_bodies_share_a_bound(start: Callable[..., Serving]) -> None:
    serving = start("--max_megabytes", "8", "--queue_size", "64")
    before = memory_bytes(serving)
    with ThreadPoolExecutor(16) as pool:
        bodies = [b"\0" * (8 * 2**20)] * 32
        statuses = list(pool.map(lambda body: serving.ask("POST", "/predict", body, JPEG).status, bodies))
    assert set(statuses) <= {422, 503}
    assert 422 in statuses
    assert memory_bytes(serving) - before < 400 * 2**20


@pytest.mark.long
def test_bombs(start: Callable[..., Serving]) -> None:
    """Small files that claim or hold many pixels: 4xx, or an answer; memory has a bound, and others are answered."""
    serving = start("--max_pixels", "30000000")

    def png(width: int, height: int) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        pixels = zlib.compress(b"\0" * (height * (3 * width + 1)), 9) if width * height < 10**9 else b""
        parts = [(b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in parts
        )

    large, larger, false = png(5000, 5900), png(5600, 5900), png(60_000, 60_000)
    small = image_bytes(form="JPEG")
    with ThreadPoolExecutor(12) as pool:
        contents = [large, larger, false, small] * 6
        found = list(pool.map(lambda one: serving.ask("POST", "/predict", one, JPEG).status, contents))
    by_kind = [set(found[kind::4]) for kind in range(4)]
    assert by_kind == [{200}, {413}, {422}, {200}]
    assert memory_bytes(serving) < 3 * 2**30


def test_slow_clients(start: Callable[..., Serving]) -> None:
    """Half a request, a body that drips, an answer that nobody reads: each ends, and others are answered meanwhile."""
    serving = start("--timeout", "3")
    address = ("127.0.0.1", serving.port)
    content = image_bytes(form="JPEG")
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
    lines = (b"", b"POST /predict HT", head, head + b"Content-Length: 1000\r\n\r\nx")
    slow = [socket.create_connection(address) for _ in range(40)]
    for number, one in enumerate(slow):
        one.sendall(lines[number % len(lines)])
    reader = socket.create_connection(address)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    whole = head.replace(b"/predict ", b"/predict?format=npy ") + b"Connection: close\r\n"
    large = image_bytes(2000, 3000, 1, "JPEG")
    reader.sendall(whole + f"Content-Length: {len(large)}\r\n\r\n".encode() + large)
    assert serving.ask("POST", "/predict", content, JPEG).status == 200
    for one in slow:
        one.settimeout(REQUEST_SECONDS)
        with suppress(ConnectionError):
            answer = one.recv(1000)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
            while one.recv(1000):
                pass
    connections = lambda: [  # noqa: E731
        one for one in psutil.Process(serving.command.pid).net_connections() if one.status == "ESTABLISHED"
    ]
    serving.command.wait_for(lambda: not connections(), "the end of all connections")
    assert serving.ask("GET", "/ready").status == 200
    for one in [*slow, reader]:
        one.close()


def test_a_full_queue(start: Callable[..., Serving]) -> None:
    serving = start("--queue_size", "2")
    content = image_bytes(600, 900, 1, "JPEG")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: serving.ask("POST", "/predict?tta=flips", content, JPEG), range(48)))
    assert {answer.status for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status == 503:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert "under way" in answer.json["error"]
    assert serving.ask("POST", "/predict", content, JPEG).status == 200


def test_bytes_that_are_no_http(start: Callable[..., Serving]) -> None:
    serving = start()
    for sent in (
        b"\0" * 1000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000,
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", serving.port)) as connection, suppress(ConnectionError):
            connection.settimeout(REQUEST_SECONDS)
            connection.sendall(sent)
            assert b" 500 " not in connection.recv(1000)
    assert serving.ask("GET", "/ready").status == 200
    assert not serving.event("error")


@pytest.mark.long
def test_schemathesis(start: Callable[..., Serving]) -> None:
    """Requests that follow the description, and such that do not: never a fault of the service."""
    import subprocess

    serving = start("--max_megabytes", "1", "--max_pixels", "100000", "--timeout", "5")
    words = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{serving.port}/openapi.json"]
    words += ["--checks", "not_a_server_error", "--max-examples", "25", "--seed", "1", "--phases", "examples,fuzzing"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1500, cwd=serving.command.process.args and "/")
    statuses = {line["status"] for line in serving.lines() if line["event"] == "request"}
    assert 500 not in statuses
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert not serving.event("error")
    assert len(serving.lines()) > 100
