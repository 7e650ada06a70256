"""A full disk: the checkpoints there are stay complete, all processes stop, and the same command resumes later."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import runs
from tests.support.program import Program, train_command


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_full_disk(
    processes: int,
    again: Program,
    small_disk: Path,
    settings: list[str],
    fault_trial: Callable[[int, str], AbstractContextManager[None]],
) -> None:
    """The run folder lies on a disk without room for another checkpoint."""
    (folder,) = again.run_folders()
    shutil.copytree(folder, small_disk / folder.name)
    shutil.rmtree(folder)
    folder.symlink_to(small_disk / folder.name)
    before = runs.checkpoints(folder)[-1]
    contents = {path.name: path.read_bytes() for path in before.iterdir()}
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(b"x" * (shutil.disk_usage(small_disk).free - 200_000))
    words = train_command(processes, *settings, "--resume", "latest")
    with fault_trial(3, "the disk is full"):
        ended = again.run(*words, code=1)
        status = runs.status(folder)
        assert (status["state"], status["exit_code"]) == ("failed", 1)
        assert "bytes are free" in status["reason"]
        assert str(folder) in status["reason"]
        assert status["reason"] in ended.output.replace("\n", " ")
        if processes == 1:
            assert "Traceback" not in ended.output
        assert {path.name: path.read_bytes() for path in before.iterdir()} == contents
        runs.check_checkpoints(folder)
        if processes == 2:  # the same command, now that there is room
            ballast.unlink()
            again.run(*words, code=0)
            assert runs.status(folder)["state"] == "finished"


FILLED = """
import errno, sys
import trainer.train
import {module} as module
real = module.{name}
def filled(self, *given, **named):
    if {when}:
        with open("mlruns/work/ballast", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return real(self, *given, **named)
module.{name} = filled
sys.exit(trainer.train.main(sys.argv[1:]))
"""
MOMENTS = {
    "the numbers of the last evaluation": ("trainer.engine.reporter", "Reporter.on_evaluation", "given[0].step == 20"),
    "the numbers of the last step": ("trainer.engine.reporter", "Reporter.on_step", "given[0] == 20"),
    "the last checkpoint": ("trainer.engine.loop", "Trainer._save_last", "True"),
    "the pictures of the best weights": ("trainer.engine.reporter", "Reporter.on_images", "self.writer.writing"),
    "the model": ("trainer.model.model_folder", "save_segmenter", "True"),
    "MLflow's form of the model": ("trainer.tracking.serving_form", "export", "True"),
    "its registration": ("trainer.tracking.run", "Run.register", "True"),
    "the end of the run": ("trainer.tracking.run", "Run.end", "True"),
    "the last status": ("trainer.tracking.run", "Run.status", "given[0] == 'finished'"),
}


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_disk_that_is_full_at_the_end(
    moment: str,
    program: Program,
    small_disk: Path,
    settings: list[str],
    golden: Callable[..., object],
    fault_trial: Callable[[int, str], AbstractContextManager[None]],
) -> None:
    """The run never ends as finished without something: with room again, it goes on to what it would have been."""
    (program.folder / "mlruns" / "work").symlink_to(small_disk)
    module, name, when = MOMENTS[moment]
    script = program.script(FILLED.format(module=module, name=name, when=when))
    tracked = ["--tracking.enabled", "true"] if "MLflow" in moment or "registration" in moment else []
    with fault_trial(41, "the disk is full at the end"):
        ended = program.run(*train_command(1, *settings, *tracked, script=script), code=1)
        said = ended.output.replace("\n", "")
        assert "bytes are free" in said
        assert "mlruns/work" in said or str(small_disk) in said
        assert "Traceback" not in ended.output
        (folder,) = (path for path in program.run_folders() if path.name != "ballast")
        assert runs.status(folder)["state"] != "finished"
        (small_disk / "ballast").unlink()
        program.run(*train_command(1, *settings, *tracked, "--resume", str(folder)), code=0)
        assert runs.states(folder)[-1] == "FINISHED"
        assert runs.result(folder) == golden(1)
        assert (folder / "model" / "weights.safetensors").is_file()
        if tracked:
            assert runs.store_states(program.database) == ["FINISHED"]
            run = runs.store_run(program.database, folder)
            assert runs.store_points(program.database, run) == runs.journal_points(folder)
