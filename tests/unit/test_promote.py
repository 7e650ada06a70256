"""promote.py on a real store: the history as people and programs read it, moves by hand, wrong command lines."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.registry import add_version
from trainer.promote import main
from trainer.tracking import history
from trainer.tracking.moves import move

NAME = 'cats\' "ä" 2'
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[MlflowClient]:
    """Client of a store with a model of three versions, the second of which is champion, and no history."""
    top = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{shutil.copyfile(empty_store, top / 'mlflow.db')}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        client = MlflowClient(uri)
        for miou in (0.1, 0.2, 0.3):
            add_version(client, NAME, top, miou)
        client.set_registered_model_alias(NAME, "champion", "2")
        yield client
    time.tzset()


@pytest.fixture
def run(client: MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call promote.py; return its exit code and what it printed."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["promote.py", *words])
        try:
            code = main(list(words))
        except SystemExit as error:
            code = int(error.code or 0)
        found = capsys.readouterr()
        return code, found.out, found.err

    return call


def test_moves_and_their_history(run: Run, client: MlflowClient) -> None:
    assert run(NAME, "--history") == (0, "no move is recorded\nchampion: version 2; previous: none\n", "")
    code, out, _ = run(f"models:/{NAME}@champion", "--to", "3", "--why", "it finds\x1b[2J the small ones", "--force")
    assert (code, out) == (0, f"models:/{NAME}@champion: version 2 -> version 3\n")
    assert run(NAME, "--to", "3", "--why", "again")[:2] == (0, "version 3 is the champion already\n")
    code, out, _ = run(NAME, "--rollback", "--why", "shadows", "--json")
    assert (code, json.loads(out)["move"]["from"], json.loads(out)["champion"]) == (0, "3", "2")
    client.set_registered_model_alias(NAME, "champion", "1")
    code, out, _ = run(NAME, "--history")
    first, second, gap, last = out.splitlines()
    assert first[-50:].endswith("it finds\\x1b[2J the small ones")
    assert "version 2 -> version 3  chosen by " in first
    assert "version 3 -> version 2  back by " in second
    assert "version 2 -> version 1  moved from elsewhere, between then and now; no record says by whom" in gap
    assert last == "champion: version 1; previous: version 3"
    assert first[:10] == f"{datetime.now().astimezone():%Y-%m-%d}"
    assert first[19:25] in ("+01:00", "+02:00")  # of Berlin


def test_the_champion_at_a_time(run: Run, client: MlflowClient) -> None:
    first, second = history.read(client, NAME).records
    assert first.done is not None
    assert second.done is not None
    between = first.done + (second.when - first.done) / 2
    assert run(NAME, "--at", between.isoformat())[1].endswith(": version 3\n")
    zone = between.astimezone().replace(tzinfo=None).isoformat()  # local, of Berlin
    assert run(NAME, "--history", "--at", zone)[1].endswith(": version 3\n")
    before = f"{first.when - timedelta(days=1):%Y-%m-%d}"
    assert run(NAME, "--at", before)[1].endswith(": version 2 (the records begin later)\n")
    now = datetime.now(UTC).isoformat()
    code, out, _ = run(NAME, "--at", now, "--json")
    found = json.loads(out)
    assert (code, found["champion"], found["at"]) == (0, ["2", "1"], now)
    assert "nobody wrote down" in found["note"]


def test_a_move_that_was_cut_off_and_a_version_that_is_gone(run: Run, client: MlflowClient) -> None:
    state = history.read(client, NAME)
    add_version(client, NAME, Path("/"), 0.4)
    draft = history.Record("", datetime.now(UTC), "bob@far", history.TO, state.champion, "4", "cut off")
    history.write(client, NAME, state, draft)
    assert move(client, NAME, "2", history.TO, "on", "1")
    client.delete_model_version(NAME, "3")
    out = run(NAME, "--history")[1]
    (line,) = [one for one in out.splitlines() if "bob@far" in one]
    assert "NOT DONE (recorded, and cut off before the champion was moved): cut off" in line
    assert "version 2 -> version 3 (deleted since)" in out
    moves = json.loads(run(NAME, "--history", "--json")[1])["moves"]
    assert [one["state"] for one in moves] == ["done", "done", "not recorded", "not done", "done"]
    assert run(NAME, "--to", "3", "--why", "x")[0] == 2


def test_secrets_are_not_kept(run: Run, client: MlflowClient) -> None:
    assert run(NAME, "--to", "1", "--force", "--why", "see https://ann:hunter22@host/x")[0] == 0
    assert "hunter22" not in run(NAME, "--history")[1]
    assert "hunter22" not in json.dumps(dict(client.get_registered_model(NAME).tags))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([NAME], "give one of --history, --to VERSION and --rollback"),
        ([NAME, "--history", "--rollback", "--why", "x"], "give one of"),
        ([NAME, "--to", "1"], "--why is missing"),
        ([NAME, "--rollback"], "--why is missing"),
        ([NAME, "--rollback", "--why", " "], "--why: empty"),
        ([NAME, "--history", "--why", "x"], "nothing is moved"),
        ([NAME, "--rollback", "--why", "x", "--force"], "--force: goes with --to"),
        ([NAME, "--to", "seven", "--why", "x"], "'seven' is not a version"),
        ([NAME, "--to", "9", "--why", "x"], "/9: there is no such version; the newest are"),
        ([NAME, "--at", "tuesday"], "'tuesday' is not a time"),
        ([NAME, "--history", "--at", "2999-01-01"], "--at: '2999-01-01' is still to come; give a time until now"),
        (["dogs", "--history"], "dogs: no registered model of this name; there are cats"),
        (["dogs", "--rollback", "--why", "x"], "dogs: no registered model of this name"),
        (["dogs", "--to", "1", "--why", "x"], "dogs: no registered model of this name"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: list[str], shown: str, run: Run) -> None:
    code, out, error = run(*words)
    assert (code, out) == (2, "")
    assert shown in error
    assert "Traceback" not in error


def test_a_store_that_does_not_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, _, error = run(NAME, "--history")
    assert code == 2
    assert "no answer" in error
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"
