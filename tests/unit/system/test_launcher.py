"""Launcher: which program before the script is one."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = "from trainer.system import launcher; print(launcher.command() != [], launcher.identity() != '')"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "False False"),
        (["timeout", "60"], "False False"),
        ([str(Path(sys.executable).with_name("accelerate")), "launch", "--num_processes", "1"], "True True"),
    ],
)
def test_what_is_a_launcher(words: list[str], expected: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [*words, *([] if "launch" in words else [sys.executable]), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == expected, done.stderr
