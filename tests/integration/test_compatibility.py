"""Runs and models of an earlier version: the program resumes the one and predicts with the other, bit for bit.

The earlier program is taken out of the repository's history, and trains, resumes and predicts beside this one on the
same machine: bits differ from processor to processor.
"""

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.program import FULL, ONE_THREAD, REPOSITORY, TINY, Program, saved, train_command

EARLIER = "f9e54b7aa34a7a3ddaa30445e3f3cf5774e66057"
"""Last commit before the modules were laid out by room."""


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Sources of the earlier program."""
    archive = subprocess.run(["git", "archive", EARLIER], cwd=REPOSITORY, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {EARLIER[:7]} is not in the history of this clone")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(tmp_path / "earlier", filter="data")
    return tmp_path / "earlier"


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_of_an_earlier_version_resumes_to_the_same_bits(tmp_path: Path, earlier: Path, processes: int) -> None:
    data = make_discs(tmp_path / "data", count=12)
    begun = Program(tmp_path / "begun", source=earlier, variables=ONE_THREAD)
    with begun.start(*train_command(processes, "--data.root", str(data), *TINY, *FULL)) as training:
        folder = training.wait_for(saved(begun, 4), "a checkpoint of step 4")
    assert runs.checkpoints(folder)
    results = []
    for source in (earlier, REPOSITORY):
        program = Program(tmp_path / f"resumed-{len(results)}", source=source, variables=ONE_THREAD)
        shutil.rmtree(program.folder / "mlruns")
        shutil.copytree(begun.folder / "mlruns", program.folder / "mlruns")
        ended = program.run(*train_command(processes, "--resume", f"mlruns/work/{folder.name}"), code=0)
        assert "goes on after step" in ended.output
        results.append(runs.result(program.run_folders()[0]))
    positions = [json.loads(digests.pop("position")) for digests, _ in results]
    assert positions[0] == {key: positions[1][key] for key in positions[0]}  # this version knows of more
    assert results[0] == results[1]


@pytest.mark.long
def test_a_model_of_an_earlier_version_predicts_the_same_masks(tmp_path: Path, earlier: Path) -> None:
    data = make_discs(tmp_path / "data", count=12)
    older, now = Program(tmp_path / "older", source=earlier), Program(tmp_path / "now")
    learning = ["--train.epochs", "40", "--train.eval_every", "10", "--optim.lr", "0.01", "--registry.name", "discs"]
    older.train("--data.root", str(data), *learning, code=0)
    predictions = []
    for program in (older, now):
        output = tmp_path / f"predicted-{len(predictions)}"
        arguments = ["--model", "models:/discs@champion", "--input", str(data / "JPEGImages"), "--output", str(output)]
        program.python("predict", *arguments, MLFLOW_TRACKING_URI=older.store, code=0)
        predictions.append({path.name: path.read_bytes() for path in sorted((output / "masks").iterdir())})
    assert len(predictions[0]) == 12
    assert predictions[0] == predictions[1]
