"""Provenance: who ran what, where, found whatever the environment holds."""

import pwd
import socket
import subprocess
import sys
import tomllib

import pytest

from trainer.config import REPOSITORY
from trainer.system.provenance import program_version, source_tags


def test_user_and_host_without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    tags = source_tags()
    assert tags["mlflow.user"] == subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout[:-1]
    assert tags["host"] == socket.gethostname()


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    number = subprocess.run(["id", "-u"], capture_output=True, text=True, check=True).stdout[:-1]
    assert source_tags()["mlflow.user"] == number


@pytest.mark.parametrize("entry", ["train", "predict", "prepare", "serve", "sync"])
def test_each_command_says_its_version(entry: str) -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    done = subprocess.run([sys.executable, f"trainer/{entry}.py", "--version"], cwd=REPOSITORY, capture_output=True)
    assert (done.returncode, done.stdout.decode()) == (0, f"{entry}.py {version}\n")
    assert program_version() == version
