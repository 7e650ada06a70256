"""Runs and models of an earlier version: the program resumes the one and predicts with the other, bit for bit.

The earlier program is taken out of the repository's history, and trains, resumes and predicts beside this one on the
same machine: bits differ from processor to processor.
"""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.program import REPOSITORY, Program, make_voc
from tests.support.trials import LAUNCHER, TINY, UNTRACKED, Trial, checkpoints, finish, result_of, saved

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


def command(processes: int, *arguments: str) -> list[str]:
    start = ["python"] if processes == 1 else [*LAUNCHER, "launch/multi_cpu.yaml"]
    return [*start, "trainer/train.py", *arguments]


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_of_an_earlier_version_resumes_to_the_same_bits(tmp_path: Path, earlier: Path, processes: int) -> None:
    data = make_voc(tmp_path / "data", count=12)
    settings = ["--data.root", str(data), *TINY, *UNTRACKED]
    begun = Program(tmp_path / "begun", source=earlier)
    with Trial(begun, *command(processes, *settings)) as trial:
        trial.wait_for(saved(begun, 4), "checkpoint of step 4")
    (folder,) = begun.run_folders()
    assert checkpoints(folder)
    results = []
    for source in (earlier, REPOSITORY):
        program = Program(tmp_path / f"resumed-{len(results)}", source=source)
        shutil.rmtree(program.folder / "mlruns")
        shutil.copytree(begun.folder / "mlruns", program.folder / "mlruns")
        text = finish(program, *command(processes, "--resume", f"mlruns/work/{folder.name}"))
        assert "goes on after step" in text
        results.append(result_of(program.run_folders()[0]))
    assert results[0] == results[1]


@pytest.mark.long
def test_a_model_of_an_earlier_version_predicts_the_same_masks(tmp_path: Path, earlier: Path) -> None:
    data = make_voc(tmp_path / "data", count=12)
    older, now = Program(tmp_path / "older", source=earlier), Program(tmp_path / "now")
    short = ["--train.epochs", "20", "--registry.name", "discs"]
    trained = older.train("--data.root", str(data), *short)
    assert trained.returncode == 0, trained.stderr
    predictions = []
    for program in (older, now):
        output = tmp_path / f"predicted-{len(predictions)}"
        arguments = ["--input", str(data / "JPEGImages"), "--output", str(output)]
        done = program.python(
            "predict", "--model", "models:/discs@champion", *arguments, MLFLOW_TRACKING_URI=older.store
        )
        assert done.returncode == 0, done.stderr
        predictions.append({path.name: path.read_bytes() for path in sorted((output / "masks").iterdir())})
    assert len(predictions[0]) == 12
    assert predictions[0] == predictions[1]
