"""Real trainings compared through a real server, which then goes away."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.discs import make_discs
from tests.support.mlflow_server import Server
from tests.support.program import Program

pytestmark = pytest.mark.long

NAMES = ("small", 'ä "quoted" <b>')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("server"), empty_store).start()
    yield started
    started.kill()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Program:
    """Two trainings on the same data, recorded on the server."""
    folder = tmp_path_factory.mktemp("compare")
    made = Program(folder / "program", variables={"MLFLOW_TRACKING_URI": server.uri})
    data = make_discs(folder / "data", count=40)
    for name, width in zip(NAMES, ("8", "16"), strict=True):
        words = [
            "--data.root",
            str(data),
            "--data.val_fraction",
            "0.5",
            "--model.encoder",
            "none",
            "--model.depth",
            "2",
        ]
        words += ["--train.epochs", "6", "--train.threads", "1", "--model.width", width, "--tracking.run_name", name]
        made.train(*words, "--tracking.watch", "2", "--registry.name", "discs", code=0, timeout_s=900)
    return made


def test_runs_of_a_server_are_compared_and_get_the_sheet(program: Program, server: Server) -> None:
    """From the run folders here, and from the server alone where these are on another machine."""
    contents = []
    client = MlflowClient(server.uri)
    work, away = program.folder / "mlruns" / "work", program.folder / "mlruns" / "away"
    for place in (work, away):
        if place == away:
            work.rename(away)
        program.python("compare", *NAMES, "models:/discs/1", "--json", "out.json", code=0, timeout_s=900)
        content = json.loads((program.folder / "out.json").read_text())
        assert content["notes"] == [f"discs version 1 is {NAMES[0]} again; shown once"]
        assert content["settings"] == {"model.width": ["8", "16"]}
        assert content["ranked_on"]["images"] == 20
        assert len(content["pairs"]) == 1
        assert re.search(r"is better than|no difference found between", content["verdict"][0])
        for run in content["runs"]:
            assert run["miou"]["value"] == pytest.approx(run["metrics"]["best/miou"], abs=1e-6)
            logged = Path(client.download_artifacts(run["run_id"], "comparison/compare.html"))
            assert logged.read_text() == (program.folder / "compare.html").read_text()
            assert client.get_run(run["run_id"]).info.status == "FINISHED"
        html = (program.folder / "compare.html").read_text()
        assert html.count('alt="errors of') == 4
        contents.append({key: value for key, value in content.items() if key not in ("time", "runs", "facts")})
    away.rename(work)
    assert contents[0] == contents[1]


def test_without_the_server_the_file_is_written(program: Program, server: Server) -> None:
    server.kill()
    try:
        done = program.python("compare", *NAMES, "--output", "alone.html", code=0, timeout_s=900)
    finally:
        server.start()
    assert "warning: not added to 2 of 2 runs in MLflow: tracking server" in done.stdout
    assert "small is read from" in done.stdout
    assert (program.folder / "alone.html").stat().st_size > 20_000
