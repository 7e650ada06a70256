"""A project of labelling: what a person chose (project.yaml), and how far its rounds have come (state.json)."""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trainer import InputError
from trainer.config import RegistryConfig
from trainer.data.files import list_files
from trainer.labelling.launch import AUTO, check_launch
from trainer.system.atomic import leftovers, new_folder, why_not_written, write_text
from trainer.system.installation import command
from trainer.system.lock import alone
from trainer.system.text import quote

PROJECT_FILE, STATE_FILE, LOCK_FILE = "project.yaml", "state.json", ".lock"

STEPS = ("check", "train", "gate", "next")
"""Steps of a round, in their order."""

OWN_KEYS = ("data.root", "model.init", "registry.name", "tracking.parent", "tracking.run_name", "resume")
"""Settings of a training that a round makes itself."""

KEYS = ("labelled", "pool", "to_label", "model", "count", "launch", "training")

HEAD = """\
# A project of `label.py round`. Relative paths begin in this folder.
# launch: what comes before trainer/train.py when you train, such as accelerate launch --config_file FILE;
# none: nothing; auto: accelerate launch where `accelerate config` was called or there are several GPUs
# training: settings of train.py that every round uses, such as train.epochs: 40
"""


@dataclass(frozen=True)
class Project:
    """Settings of a project, as a person chose them."""

    folder: Path
    labelled: tuple[Path, ...]
    """Folders with labels, beside those of `to_label`."""

    pool: Path
    """Folder of images that are not labelled yet."""

    to_label: Path
    """Folder that images are put into, with predictions to correct."""

    model: str
    """Name of the registered model."""

    count: int = 20
    """Images that each round adds."""

    training: Mapping[str, Any] = field(default_factory=dict)
    """Settings of train.py, by dotted key."""

    launch: str = AUTO
    """Command that launches the trainings, such as `accelerate launch`; or AUTO or NONE."""

    @property
    def name(self) -> str:
        """Name of the project."""
        return self.folder.resolve().name

    @property
    def roots(self) -> list[Path]:
        """Folders that train: those with labels, and what there is to label once something was put there."""
        queued = self.to_label.is_dir() and list_files(self.to_label, (".json",), deep=True)
        roots = [*self.labelled, *([self.to_label] if queued else [])]
        return list({root.resolve(): root for root in roots}.values())

    def training_words(self) -> list[str]:
        """The settings as arguments of train.py."""
        words = [word for key in ("config",) if key in self.training for word in (f"--{key}", str(self.training[key]))]
        for key, value in self.training.items():
            if key != "config":
                words += [f"--{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]
        return words


@dataclass
class Round:
    """One round, as far as it has come."""

    number: int
    name: str
    """Name of its training run and of its call for the next images: no other round has it."""

    images: int
    """Number of labelled images."""

    labels: str
    """Digest of the labels, and of the settings that they train with."""

    champion: str = ""
    """Version that the training starts from; empty for a pretrained encoder or random weights."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Step that is done -> what came of it."""

    @property
    def complete(self) -> bool:
        """Return whether nothing of it is left to do."""
        return all(step in self.steps for step in STEPS)

    @property
    def score(self) -> float | None:
        """Mean IoU on the round's validation images; None where that is not known."""
        value = self.steps.get("gate", {}).get("miou")
        return None if value is None else float(value)


@dataclass
class State:
    """Progress of the rounds."""

    file: Path
    uid: str
    parent: str = ""
    """Run folder of the parent of all rounds' runs."""

    rounds: list[Round] = field(default_factory=list)

    def save(self) -> None:
        """Write the file, whole or not at all. Raises InputError where that is not possible."""
        content = {"uid": self.uid, "parent": self.parent, "rounds": [asdict(one) for one in self.rounds]}
        try:
            write_text(self.file, json.dumps(content, indent=1))
        except OSError as error:
            raise InputError(f"{why_not_written(self.file, error)}; allow it: the round goes on there") from error

    def scores(self) -> list[tuple[int, float]]:
        """Number of labelled images and mean IoU of each round that has come that far."""
        return [(one.images, one.score) for one in self.rounds if one.score is not None]


def start_project(project: Project) -> None:
    """Make the folder of a project. Raises InputError where it exists already or cannot be written."""
    _check(project)
    settings = {
        "labelled": [_absolute(folder) for folder in project.labelled],
        "pool": _absolute(project.pool),
        "to_label": _absolute(project.to_label) if project.to_label.is_absolute() else str(project.to_label),
        "model": project.model,
        "count": project.count,
        "launch": project.launch,
        "training": dict(project.training),
    }
    text = HEAD + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    with new_folder(project.folder) as partial:
        write_text(partial / PROJECT_FILE, text)


def _absolute(folder: Path) -> str:
    return os.path.abspath(folder)


def open_project(folder: Path) -> Project:
    """Read project.yaml; its folders get absolute paths. Raises InputError naming the key that is wrong."""
    file = folder / PROJECT_FILE
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        made = f"{command('label')} start {quote(folder)} --labelled DIR --pool DIR --model NAME"
        raise InputError(f"{folder}: no project there ({PROJECT_FILE} is missing); make one with\n  {made}") from None
    except NotADirectoryError:
        raise InputError(f"{folder}: not a folder; give the folder of the project, {quote(folder.parent)}") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); allow it") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: not valid YAML ({reason}); fix it") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: no keys there; it has {', '.join(KEYS)}")
    folder = Path(os.path.abspath(folder))  # a training may be resumed from anywhere
    project = Project(
        folder,
        tuple(folder / one for one in _paths(file, content, "labelled")),
        folder / _value(file, content, "pool", str, "a folder"),
        folder / _value(file, content, "to_label", str, "a folder", "to_label"),
        _value(file, content, "model", str, "a name"),
        _value(file, content, "count", int, "1 or more", 20),
        _value(file, content, "training", dict, "settings of train.py, such as train.epochs: 40", {}) or {},
        _value(file, content, "launch", str, "a command such as accelerate launch", AUTO),
    )
    for key in content:
        if key not in KEYS:
            raise InputError(f"{file}: {key}: no such key; there are {', '.join(KEYS)}")
    _check(project)
    return project


def _paths(file: Path, content: Mapping[str, Any], key: str) -> list[str]:
    value = content.get(key)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(one, str) and one for one in values):
        raise InputError(f"{file}: {key}: {value!r} is not possible; give a folder, or a list of them")
    return values


def _value(file: Path, content: Mapping[str, Any], key: str, kind: type, wanted: str, default: Any = None) -> Any:
    value = content.get(key, default)
    if type(value) is not kind or value == "":
        if key == "training" and value is None:
            return {}
        raise InputError(f"{file}: {key}: {value!r} is not possible; give {wanted}")
    return value


def _check(project: Project) -> None:
    """Raise InputError where a value is not possible."""
    file = project.folder / PROJECT_FILE
    where = f"{file}: " if file.exists() else ""
    for folder in (*project.labelled, project.pool):
        if not folder.is_dir():
            raise InputError(f"{where}{folder}: no such folder; name one that exists")
    if project.count < 1:
        raise InputError(f"{where}count: {project.count} is not possible; give 1 or more")
    RegistryConfig(name=project.model)
    try:
        check_launch(project.launch, project.folder)
    except InputError as error:
        raise InputError(f"{where}{error}") from error
    for key in project.training:
        if key in OWN_KEYS:
            raise InputError(f"{where}training: {key} is made by each round; leave it out")
    if project.training.get("tracking.enabled") is False:
        raise InputError(f"{where}training: tracking.enabled false registers no model, which a round needs; leave it")


def open_state(project: Project) -> State:
    """Read state.json, or begin one. Raises InputError where it is damaged."""
    file = project.folder / STATE_FILE
    for leftover in leftovers(file):
        leftover.unlink(missing_ok=True)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rounds = [Round(**one) for one in content["rounds"]]
        state = State(file, str(content["uid"]), str(content["parent"]), rounds)
        if not all(type(one.number) is int and type(one.images) is int and type(one.steps) is dict for one in rounds):
            raise ValueError("a round has values of other kinds")
        return state
    except FileNotFoundError:
        return State(file, secrets.token_hex(4))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); allow it") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        fix = "restore it, or rename it: rounds are counted from 1 again then, and no label or model is lost"
        raise InputError(f"{file}: damaged ({type(error).__name__}: {error}); {fix}") from error


def only_round(project: Project) -> AbstractContextManager[None]:
    """Keep other rounds out of a project for the block. Raises InputError where one is under way."""
    return alone(project.folder / LOCK_FILE, f"{project.folder}: another round is under way; wait until it ends")


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """Settings by dotted key, from arguments of train.py: --key value or --key=value. Raises InputError."""
    settings: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key, separator, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key or not (separator or rest):
            raise InputError(f"{word}: not a setting of train.py; give --key value, such as --train.epochs 40")
        text = value if separator else rest.pop(0)
        if key == "config":
            settings[key] = _absolute(Path(text))
            continue
        try:
            settings[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            settings[key] = text
    return settings
