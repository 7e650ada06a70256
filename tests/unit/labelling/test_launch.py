"""The command that launches the trainings of a project: read, refused, and run."""

import shlex
import sys
from pathlib import Path

import pytest

from trainer import InputError
from trainer.labelling.launch import check_launch, launch_words
from trainer.system.child import run_entry

ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of Accelerate's default configuration, which is not there."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf" / "accelerate"


def test_without_a_launcher_it_is_one_process(cache: Path) -> None:
    assert check_launch("auto", Path()) == "auto"
    assert launch_words("auto", 0) == launch_words("auto", 1) == launch_words("none", 8) == []
    assert launch_words("auto", 2) == ACCELERATE
    cache.mkdir(parents=True)
    (cache / "default_config.yaml").touch()
    assert launch_words("auto", 0) == ACCELERATE
    assert launch_words("none", 0) == []


@pytest.mark.parametrize("option", ["--config_file {}", "--config-file={}", "--num_processes 2 --config_file {}"])
def test_a_configuration_is_found_from_anywhere(option: str, tmp_path: Path) -> None:
    file = tmp_path / "it's mine" / "two.yaml"
    file.parent.mkdir()
    file.touch()
    checked = check_launch("accelerate launch " + option.format(shlex.quote("it's mine/two.yaml")), tmp_path)
    words = launch_words(checked, 0)
    assert words[:3] == ACCELERATE
    assert words[-1].partition("=")[2] == str(file)
    assert words[3:-1] == (["--num_processes", "2"] if "num" in option else [])
    assert check_launch(checked, Path("/")) == checked
    assert launch_words("torchrun --nproc_per_node 2", 0)[1:] == [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "'' is not possible"),
        ("accelerate", "is not possible; give 'accelerate launch OPTIONS'"),
        ("mpirun -n 2", "is not possible"),
        ("accelerate launch 'x", "No closing quotation"),
        ("accelerate launch trainer/train.py", "trainer/train.py: leave it out"),
        ("accelerate launch --config_file gone.yaml", "gone.yaml: no such file"),
    ],
)
def test_what_is_no_launcher_is_refused(text: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        check_launch(text, tmp_path)
    assert part in str(error.value)


def test_an_entry_point_is_launched(capfd: pytest.CaptureFixture[str]) -> None:
    launch = [sys.executable, "-c", "import sys; print(sys.argv[1:])"]
    assert run_entry("train", ["--help"], launch) == 0
    printed = capfd.readouterr().out
    assert "trainer/train.py', '--help'" in printed
