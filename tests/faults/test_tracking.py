"""The tracking server dies, freezes, is replaced, is locked: training goes on, and nothing is lost or told twice.

Real servers and real trainings; faults are signals and locks from outside. Each `fault_trial` names the promise.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.support.program import Program, Server, histories, journal_points, make_voc
from tests.support.proxy import Proxy
from tests.support.tracked import (
    ENDS_WITHIN_S,
    RUN,
    STEPS,
    Training,
    check_complete,
    first_batch_sent,
    points_of,
    send_from_elsewhere,
    step,
    the_run,
    untimed,
)

USER, PASSWORD, TOKEN = "someone-of-ours", "pa55word-of-ours", "t0ken-of-ours"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_voc(tmp_path_factory.mktemp("data") / "discs")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, list[tuple[int, float]]]:
    """What the same training says when nothing is tracked and nothing fails."""
    program = Program(tmp_path_factory.mktemp("golden") / "program")
    result = program.train("--data.root", str(data), *RUN, "--tracking.enabled", "false")
    assert result.returncode == 0, result.stderr
    return untimed(journal_points(program.run_folders()[0]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all; each trial leaves it running."""
    running = Server(tmp_path_factory.mktemp("tracking") / "server").start()
    yield running
    running.kill()


# ------------------------------------------------------------------------------------------------ fast tier


def test_killed_in_the_middle_and_back_again(
    server: Server, data: Path, golden: dict[str, Any], tmp_path: Path, fault_trial: Any
) -> None:
    """Also the search for secrets: they are in the address, the environment, the git remote."""
    program = Program(tmp_path / "program")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(program.folder)]
    for command in (["init", "-q"], ["add", "trainer"], ["commit", "-qm", "Begin"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run([*git, "remote", "add", "origin", f"https://oauth2:{TOKEN}@127.0.0.1/a.git"], check=True)
    secrets = {
        "MLFLOW_TRACKING_URI": server.uri.replace("://", f"://{USER}:{PASSWORD}@"),
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "MLFLOW_TRACKING_TOKEN": TOKEN,
    }
    training = Training(program, data, **secrets)
    with fault_trial(13, "server killed, back after some steps"):
        folder = training.wait_until(first_batch_sent)
        server.kill()
        killed_at = step(folder)
        training.wait_until(lambda folder: step(folder) >= min(killed_at + 10, STEPS))
        training.pause()  # while the server starts
        server.start()
        training.go_on()
        said = training.end()
        check_complete(server.store, folder)
        assert "sync.py" not in said
    with fault_trial(16, "server killed: histories as undisturbed"):
        assert untimed(journal_points(folder)) == golden
        assert untimed(points_of(server.store, the_run(server.store, folder))) == golden

    # Nothing is left to do, and nothing is done; where the note of what was sent is lost, nothing is doubled.
    before = server.received()
    again = program.python("sync", str(folder), **secrets)
    assert again.returncode == 0, again.stderr
    assert server.received() == before
    (folder / "sent.json").unlink()
    (folder / "version.json").unlink()
    again = program.python("sync", **secrets)
    assert again.returncode == 0, again.stderr
    assert server.received() > before
    check_complete(server.store, folder)

    with fault_trial(26, "secrets in address, environment, git remote, data.root"):
        root = f"https://{USER}:{PASSWORD}@127.0.0.1/data?token={TOKEN}"
        refused = program.train("--data.root", root, **secrets)
        nobody = secrets | {"MLFLOW_TRACKING_URI": f"http://{USER}:{PASSWORD}@127.0.0.1:9"}
        unreachable = program.train("--data.root", str(data), **nobody)
        unsent = program.python("sync", str(folder), **nobody)
        assert (refused.returncode, unreachable.returncode, unsent.returncode) == (2, 2, 2)
        shown = said + "".join(one.stdout + one.stderr for one in (again, refused, unreachable, unsent))
        assert "127.0.0.1" in shown
        places = [path for top in (program.folder / "mlruns", server.folder) for path in top.rglob("*")]
        assert any(path.name == "status.json" for path in places)
        texts = {"console": shown.encode()} | {str(path): path.read_bytes() for path in places if path.is_file()}
        for secret in (USER, PASSWORD, TOKEN):
            assert [place for place, text in texts.items() if secret.encode() in text] == []


@pytest.mark.long
def test_frozen_to_the_end(
    server: Server, data: Path, golden: dict[str, Any], tmp_path: Path, fault_trial: Any
) -> None:
    program = Program(tmp_path / "program")
    with fault_trial(14, "server frozen: training unaffected, ends on time"):
        training = Training(program, data, MLFLOW_TRACKING_URI=server.uri)
        folder = training.wait_until(first_batch_sent)
        server.freeze()
        assert step(folder) < STEPS, "the training was over before the fault"
        said = training.end()
        assert untimed(journal_points(folder)) == golden
        assert "records are not sent yet" in said
        assert f"python trainer/sync.py {folder}" in said
        assert json.loads((folder / "status.json").read_text())["state"] == "finished"
        server.thaw()  # what it was told and did not answer, it does now
        moved = send_from_elsewhere(program, folder, server, tmp_path)
        check_complete(server.store, moved)


@pytest.mark.long
def test_down_from_start_to_end(
    server: Server, data: Path, golden: dict[str, Any], tmp_path: Path, fault_trial: Any
) -> None:
    program = Program(tmp_path / "program")
    with fault_trial(12, "server down, not required: trained, sent later"):
        nowhere = "http://127.0.0.1:9"
        training = Training(program, data, "--tracking.required", "false", MLFLOW_TRACKING_URI=nowhere)
        said = training.end()
        (folder,) = program.run_folders()
        assert f"python trainer/sync.py {folder}" in said
        assert untimed(journal_points(folder)) == golden
        sent = program.python("sync", MLFLOW_TRACKING_URI=server.uri)
        assert sent.returncode == 0, sent.stderr
        check_complete(server.store, folder)


OPEN_AND_SEND = """
import sys, time
from pathlib import Path
from trainer.config import MLRUNS
from trainer.system.run_folder import new_run_folder
from trainer.tracking.run import Run
from trainer.tracking.server import require_run
while time.time() < float(sys.argv[1]):
    time.sleep(0.001)
folder = new_run_folder(MLRUNS / "work", "cats", sys.argv[2], True)
run = Run(folder, require_run(folder), True)
for step in range(50):
    run.metrics({"train/loss": 1 / (step + 1)}, step)
run.end("FINISHED")
assert run.flush(60), run.last_error
run.close()
"""


def test_many_at_once_on_a_fresh_database(tmp_path: Path, fault_trial: Any) -> None:
    program = Program(tmp_path / "program")
    with fault_trial(15, "4 runs opened at once on a fresh database"):
        at = str(time.time() + 6)  # when all have loaded what they need
        all_four = [program.start(sys.executable, "-c", OPEN_AND_SEND, at, f"run {number}") for number in range(4)]
        for one in all_four:
            out, err = one.communicate(timeout=ENDS_WITHIN_S)
            assert (one.returncode, out, err) == (0, "", "")
        found = histories(program.folder / "mlruns" / "mlflow.db")
        assert len(found) == 4
        assert {len(points) for points in found.values()} == {50}


@pytest.mark.parametrize("case", ["file store", "no file", "not a database", "folder not writable"])
def test_a_store_that_cannot_be_used_ends_with_code_2(case: str, data: Path, tmp_path: Path, fault_trial: Any) -> None:
    program = Program(tmp_path / "program")
    old = program.folder / "mlruns"
    (old / "0").mkdir()
    (old / "0" / "meta.yaml").write_text("experiment_id: '0'\nname: Default\n")
    (tmp_path / "text.db").write_text("a letter, and quite a long one at that\n" * 20)
    uri, named = {
        "file store": ("./mlruns", "migrate-filestore"),
        "no file": ("sqlite://", "sqlite:///FILE"),
        "not a database": (f"sqlite:///{tmp_path / 'text.db'}", "text.db: file is not a database"),
        "folder not writable": ("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere/mlflow.db"),
    }[case]
    with fault_trial(12, f"store that cannot be used: {case}"):
        result = program.train("--data.root", str(data), MLFLOW_TRACKING_URI=uri, timeout_s=60)
        assert result.returncode == 2, result.stdout + result.stderr
        assert named in result.stderr
        assert "Traceback" not in result.stderr
        assert program.run_folders() == []


# ------------------------------------------------------------------------------------------------ long tier


@pytest.mark.long
def test_killed_and_never_back(data: Path, golden: dict[str, Any], tmp_path: Path, fault_trial: Any) -> None:
    program, server = Program(tmp_path / "program"), Server(tmp_path / "server").start()
    training = Training(program, data, MLFLOW_TRACKING_URI=server.uri)
    new = Server(tmp_path / "new")
    try:
        with fault_trial(13, "server never back: training ends on time"):
            folder = training.wait_until(first_batch_sent)
            server.kill()
            said = training.end()
            assert f"python trainer/sync.py {folder}" in said
            assert untimed(journal_points(folder)) == golden
        with fault_trial(13, "server never back: all is sent to a new one, from elsewhere"):
            shutil.rmtree(server.folder)  # with all that it knew
            moved = send_from_elsewhere(program, folder, new.start(), tmp_path)
            check_complete(new.store, moved)
    finally:
        server.kill()
        new.kill()


@pytest.mark.long
def test_down_at_the_start_and_up_before_the_end(data: Path, tmp_path: Path, fault_trial: Any) -> None:
    program, server = Program(tmp_path / "program"), Server(tmp_path / "server")
    training = Training(program, data, "--tracking.required", "false", MLFLOW_TRACKING_URI=server.uri)
    try:
        with fault_trial(12, "server down at the start, not required: one run all the same"):
            folder = training.wait_until(lambda folder: step(folder) >= 10)
            assert "run_id" not in json.loads((folder / "run.json").read_text())
            training.pause()
            server.start()
            training.go_on()
            assert "sync.py" not in training.end()
            check_complete(server.store, folder)
    finally:
        server.kill()


@pytest.mark.long
def test_a_server_that_asks_for_a_password(server: Server, data: Path, tmp_path: Path, fault_trial: Any) -> None:
    program, door = Program(tmp_path / "program"), Proxy(server.uri, login=(USER, PASSWORD))
    address = door.uri.replace("://", f"://{USER}:{PASSWORD}@")
    with fault_trial(26, "a server with basic auth"):
        refused = program.train("--data.root", str(data), MLFLOW_TRACKING_URI=door.uri)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert door.uri in refused.stderr
        assert "Traceback" not in refused.stderr
        assert program.run_folders() == []
        assert door.refused > 0
        said = Training(program, data, MLFLOW_TRACKING_URI=address).end()
        (folder,) = program.run_folders()
        check_complete(server.store, folder)
        texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert not any(PASSWORD.encode() in text for text in [said.encode(), *texts])
    door.stop()


@pytest.mark.long
def test_four_trainers_on_a_fresh_database(data: Path, tmp_path: Path, fault_trial: Any) -> None:
    program = Program(tmp_path / "program")
    with fault_trial(15, "4 trainers at once on a fresh database"):
        trainings = [Training(program, data) for _ in range(4)]
        for training in trainings:
            training.end()
        assert len(program.run_folders()) == 4
        for folder in program.run_folders():
            run = the_run(program.folder / "mlruns" / "mlflow.db", folder)
            assert points_of(program.folder / "mlruns" / "mlflow.db", run) == journal_points(folder)
            assert run.info.status == "FINISHED"


@pytest.mark.long
@pytest.mark.parametrize("when", ["at the start", "in the middle", "at the end"])
def test_a_database_locked_for_half_a_minute(
    when: str, data: Path, golden: dict[str, Any], tmp_path: Path, fault_trial: Any
) -> None:
    program = Program(tmp_path / "program")
    store = program.folder / "mlruns" / "mlflow.db"
    if when == "at the start":
        assert program.train("--data.root", str(data), "--train.epochs", "1").returncode == 0
        shutil.rmtree(program.folder / "mlruns" / "work")
    with fault_trial(15, f"database locked for 30 s {when}"):
        training = Training(program, data)
        if when != "at the start":
            training.wait_until(first_batch_sent if when == "in the middle" else lambda folder: step(folder) == STEPS)
        with closing(sqlite3.connect(store, timeout=60)) as other:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(30)
        training.end()
        (folder,) = program.run_folders()
        run = the_run(store, folder)
        assert untimed(journal_points(folder)) == golden
        assert points_of(store, run) == journal_points(folder)
        assert run.info.status == "FINISHED"


@pytest.mark.long
def test_one_sender_at_a_time(data: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    assert program.train("--data.root", str(data), "--train.epochs", "1", "--registry.name", "null").returncode == 0
    (folder,) = program.run_folders()
    (folder / "sent.json").unlink()
    with FileLock(folder / ".sending.lock"):
        refused = program.python("sync", str(folder))
    assert refused.returncode == 1
    assert "another process is sending it" in refused.stderr
    assert not (folder / "sent.json").exists()
    assert program.python("sync", str(folder)).returncode == 0
