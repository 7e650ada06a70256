"""The program as pip installs it: its wheel in a new environment, with the packages that it asks for and no others."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.program import REPOSITORY, WAIT_SECONDS, Command, Ended


def link_environment(folder: Path, extras: str = "") -> None:
    """Give a copy of the program the tests' environment, under the name that its scripts expect, as up to date."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith(("installed", "place")):
            (folder / ".venv" / path.name).symlink_to(path)
    wanted = b"".join((folder / name).read_bytes() for name in ("pyproject.toml", "launch/constraints.txt"))
    digest = hashlib.sha256(wanted + f"{extras}\n".encode()).hexdigest()
    (folder / ".venv" / f"installed{extras}").write_text(f"{digest}\n")
    (folder / ".venv" / "place").write_text(f"{folder}\n")


def build_wheel(folder: Path) -> Path:
    """Build the wheel of a copy of the tracked files, so that nothing is written in the repository."""
    names = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if name.startswith("trainer/") or "/" not in name:
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((REPOSITORY / name).read_bytes())
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(folder / "source")]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def needed(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions that some requirements bring with all that these need, as installed here."""
    found: set[str] = set()
    waiting = [(Requirement(text), frozenset({""})) for text in requirements]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        one, extras = waiting.pop()
        if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        own = frozenset({"", *one.extras})
        if (one.name, own) not in done:
            done.add((one.name, own))
            found.add(one.name)
            waiting += [(Requirement(text), own) for text in metadata.distribution(one.name).requires or []]
    return found


class Installed:
    """An environment with the wheel, and with links to the packages that it needs: the tests' own, to save minutes."""

    def __init__(self, folder: Path, wheel: Path, requirements: Iterable[str]) -> None:
        """Make the environment in `folder`, and an empty folder `work` to run commands in."""
        self.work, self.programs = folder / "work", folder / "venv" / "bin"
        self.work.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        python = self.programs / "python"
        install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
        pip = [sys.executable, "-m", "pip", *install]
        subprocess.run(pip, check=True, capture_output=True, env=self._environment())
        (self.site,) = (folder / "venv").glob("lib/*/site-packages")
        for name in needed(requirements):
            found = metadata.distribution(name)
            for top in {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}:
                if not (self.site / top).exists():
                    (self.site / top).symlink_to(str(found.locate_file(top)))

    def run(self, program: str, *words: object, code: int = 0) -> Ended:
        """Run a program of the environment in the folder `work`; it must end with `code`, and without a traceback."""
        line = [str(self.programs / program), *map(str, words)]
        with Command(line, self.work, self._environment()) as command:
            ended = command.end(WAIT_SECONDS)
        assert (ended.returncode, "Traceback" in ended.output) == (code, False), ended.output
        return ended

    def _environment(self) -> dict[str, str]:
        """Environment variables without those that point to the tests' own code."""
        foreign = ("MLFLOW_", "ACCELERATE_", "PYTHON")
        own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return own | {"PATH": f"{self.programs}:{own['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}

    def code_files(self) -> set[str]:
        """Files beside and in the program's code, without what Python itself compiles there."""
        own = [path for part in ("trainer", "*.dist-info") for path in self.site.glob(f"{part}/**/*")]
        return {str(path) for path in [*self.site.iterdir(), *own] if "__pycache__" not in path.parts}
