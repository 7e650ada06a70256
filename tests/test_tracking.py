"""A real MLflow server: training against it, without it, and catching up later."""

from pathlib import Path

import pytest

from tests.program import Program, Server, histories, make_voc

DETERMINED = ["--train.epochs", "2", "--train.mixed_precision", "no", "--train.threads", "1"]
TIMED = ("time/", "train/images_per_second")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    running = Server(tmp_path_factory.mktemp("server")).start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_voc(tmp_path_factory.mktemp("data") / "discs")


def curves(store: Path, run: str) -> dict[str, list[tuple[int, float]]]:
    """Step and value of what does not depend on the clock."""
    return {
        key: [(step, value) for step, _, value in points]
        for (owner, key), points in histories(store).items()
        if owner == run and not key.startswith(TIMED)
    }


def run_ids(store: Path) -> list[str]:
    return list(dict.fromkeys(run for run, _ in histories(store)))


def test_a_run_without_a_server_is_sent_later_and_only_once(server: Server, data: Path, tmp_path: Path) -> None:
    there = Program(tmp_path / "there")
    result = there.train("--data.root", str(data), *DETERMINED, MLFLOW_TRACKING_URI=server.uri)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().splitlines()[-1].endswith(server.uri)
    store = server.folder / "server.db"
    (first,) = run_ids(store)

    away = Program(tmp_path / "away")
    nowhere = "http://127.0.0.1:9"
    result = away.train(
        "--data.root", str(data), *DETERMINED, "--tracking.required", "false", MLFLOW_TRACKING_URI=nowhere
    )
    assert result.returncode == 0, result.stderr
    assert "trainer/sync.py" in result.stdout
    assert run_ids(store) == [first]

    for _ in range(2):  # the second time adds nothing
        assert away.python("sync", MLFLOW_TRACKING_URI=server.uri).returncode == 0
        (second,) = (run for run in run_ids(store) if run != first)
        assert curves(store, second) == curves(store, first)
    # Even where the note of what was sent is lost.
    (folder,) = away.run_folders()
    before = histories(store)
    (folder / "sent.json").unlink()
    assert away.python("sync", str(folder), MLFLOW_TRACKING_URI=server.uri).returncode == 0
    assert histories(store) == before
