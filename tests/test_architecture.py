"""The rooms of the program: which imports which, and what stays out of each."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.program import REPOSITORY
from trainer.__main__ import ENTRIES as COMMANDS

PACKAGE = REPOSITORY / "trainer"
ENTRIES = sorted(path.stem for path in PACKAGE.glob("*.py") if 'if __name__ == "__main__":' in path.read_text())
ROOMS = [
    {"settings"},
    {"system"},
    {"drawing"},
    {"data"},
    {"model"},
    {"make", "inference"},
    {"tracking"},
    {"labelling"},
    {"engine", "search", "serving"},
    {"entry points"},
]
"""Rooms from the bottom to the top: each imports from those below it only; those of one level not from each other."""

LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
OWNERS = {"accelerate": "engine", "mlflow": "tracking", "optuna": "search"}
"""Library -> the only room that imports it."""


@cache
def modules() -> dict[str, Path]:
    """Module name -> file."""
    names = {path: ".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def room_of(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 1 or parts[1] == "config":
        return "settings"
    # cli.py reads the command lines of the entry points.
    return "entry points" if parts[1] in ("cli", *ENTRIES) else parts[1]


@cache
def imports(module: str, everywhere: bool = True) -> frozenset[str]:
    """Modules that a module imports; not `everywhere`: only what its own import loads."""
    tree = ast.parse(modules()[module].read_text())
    return frozenset(_imports(tree, everywhere))


def _imports(tree: ast.AST, everywhere: bool) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in modules() else str(node.module)
        elif everywhere or not (
            isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        ):
            yield from _imports(node, everywhere)


def own(names: frozenset[str]) -> list[str]:
    return sorted(name for name in names if name in modules())


def test_entry_points_are_found() -> None:
    assert {"train", "predict", "prepare", "sync"} <= set(ENTRIES)


def test_one_command_has_them_all() -> None:
    assert set(COMMANDS) == set(ENTRIES) - {"__main__"}


def test_every_room_is_known() -> None:
    assert {room_of(module) for module in modules()} == set(LEVEL)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_down(module: str) -> None:
    here = room_of(module)
    upwards = [
        other for other in own(imports(module)) if room_of(other) != here and LEVEL[room_of(other)] >= LEVEL[here]
    ]
    assert not upwards, f"{module} of {here} imports {upwards}"


def test_no_circles() -> None:
    """Importing a module never comes back to it."""
    for module in modules():
        reached, waiting = set(), own(imports(module, everywhere=False))
        while waiting:
            other = waiting.pop()
            assert other != module, f"{module} imports itself by way of others"
            if other not in reached:
                reached.add(other)
                waiting += own(imports(other, everywhere=False))


@pytest.mark.parametrize("library", OWNERS)
def test_libraries_have_one_room(library: str) -> None:
    users = {room_of(module) for module in modules() for name in imports(module) if name.split(".")[0] == library}
    assert users == {OWNERS[library]}


def test_the_system_room_is_light() -> None:
    for module in modules():
        if room_of(module) in ("settings", "system"):
            heavy = {name.split(".")[0] for name in imports(module)} & {"torch", "mlflow", "numpy", "PIL", "kornia"}
            assert not heavy, f"{module} imports {heavy}"


def test_no_module_hides_one_of_the_library() -> None:
    """`python trainer/train.py` puts trainer/ first on sys.path."""
    hidden = {path.stem for path in PACKAGE.iterdir()} & (set(sys.stdlib_module_names) | {"torch", "numpy", "mlflow"})
    assert not hidden


TRAINING_ONLY = ("engine", "make", "tracking")
"""Rooms that prediction of files does without."""

TRAINING_MODULES = (
    "augment",
    "cache",
    "checks",
    "crops",
    "dataset",
    "loader",
    "sampler",
    "sources",
    "split",
)
"""Modules of the data room that only training, and checks of its data, need."""


def test_the_predictor_needs_nothing_of_training() -> None:
    """Whatever it grows by: no loop, no loader, no layout of a dataset, no checks."""
    reached, waiting = {"trainer.inference.predictor"}, ["trainer.inference.predictor", "trainer.inference.outputs"]
    while waiting:
        for other in own(imports(waiting.pop())):
            if other not in reached:
                reached.add(other)
                waiting.append(other)
    rooms = {room_of(module) for module in reached}
    assert not rooms & set(TRAINING_ONLY)
    parts = [module.split(".") for module in reached]
    assert not [part for part in parts if part[1:2] == ["data"] and part[2] in TRAINING_MODULES]
    assert {"trainer.model.segmenter", "trainer.data.image_io"} <= reached


def test_a_check_loads_no_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "trainer/prepare.py", "check", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "trainer.data.sources" in loaded
    assert not loaded & {"torch", "mlflow"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_help_loads_nothing_heavy(entry: str) -> None:
    command = [sys.executable, "-X", "importtime", f"trainer/{entry}.py", "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "trainer" in loaded  # the list is one
    assert not loaded & {"torch", "mlflow", "numpy", "accelerate", "kornia", "PIL"}


def test_no_pickle() -> None:
    for module in modules():
        assert not {name.split(".")[0] for name in imports(module)} & {"pickle", "cloudpickle", "dill", "joblib"}
