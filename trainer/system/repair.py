"""Repair of damaged run folders, from what else is known of the run. What was damaged stays beside it, renamed."""

import re
import stat
import time
from pathlib import Path
from typing import Any

import yaml

from trainer.config import Config, dotted, flatten, nested
from trainer.system.atomic import set_aside, write_json, write_text
from trainer.system.regular_file import KINDS, open_regular
from trainer.system.run_folder import CHECKPOINT_PREFIX, FAMILY_TAGS, RunFolder, read_object

RUN_KEYS = {"uid": str, "experiment": str, "run_name": str, "time": int, "tracked": bool, "tags": dict}
"""What run.json must hold."""

VERSION_KEYS = {"model_id": str, "uploaded": bool, "name": str, "version": str}
"""What version.json may hold."""


def repair(folder: RunFolder) -> list[str]:
    """Make the files of a run folder usable, and return a sentence for each that was not. Raises OSError."""
    said = [*_misplaced(folder)]
    if _broken(folder.status, {}):
        said.append(f"{_aside(folder.status)}; the journal tells how the run ended")
    if _broken(folder.sent, {"bytes": int, "values": int}) or (folder.sent.exists() and not _sent_is_possible(folder)):
        said.append(f"{_aside(folder.sent)}; all is sent again, which adds nothing twice")
    if _broken(folder.version, VERSION_KEYS):
        said.append(f"{_aside(folder.version)}; what the registry made of this run is looked up there")
    if any(str(folder.version) in sentence for sentence in said):
        folder.sent.unlink(missing_ok=True)  # so that the model is sent again, which makes nothing twice
    if _broken(folder.split, {"digest": str, "train": list, "val": list}):
        said.append(f"{_aside(folder.split)}; the checkpoint tells which data it was")
    if not read_settings(folder) and (settings := known_settings(folder)):
        text = _aside(folder.config) if folder.config.exists() else f"{folder.config}: missing"
        write_text(folder.config, yaml.safe_dump(nested(settings), sort_keys=False))
        said.append(f"{text}; made again from the newest checkpoint")
    if _broken(folder.run, RUN_KEYS) or not RUN_KEYS.keys() <= read_object(folder.run).keys():
        said += _rebuild_run(folder)
    return said


def read_settings(folder: RunFolder) -> dict[str, Any]:
    """Settings of a run by dotted keys, those that it does not have at their defaults; empty where damaged."""
    try:
        with open_regular(folder.config) as stream:
            sections = yaml.safe_load(stream.read().decode())
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    default = nested(flatten(Config()))
    whole = isinstance(sections, dict) and {"data", "model", "train"} <= sections.keys()
    if not whole or any(
        isinstance(default.get(name), dict) > isinstance(part, dict) for name, part in sections.items()
    ):
        return {}
    return _with_defaults(dotted(sections))


def known_settings(folder: RunFolder) -> dict[str, Any]:
    """Settings of a run by dotted keys, of its newest checkpoint where config.yaml is damaged; empty without both."""
    if settings := read_settings(folder):
        return settings
    found = []
    for file in folder.checkpoints.glob(f"{CHECKPOINT_PREFIX}*/position.json"):
        content = read_object(file)
        step = file.parent.name.removeprefix(CHECKPOINT_PREFIX)
        if step.isdecimal() and isinstance(content.get("config"), dict):
            found.append((int(step), content["config"]))
    if not found:
        return {}
    _, saved = max(found, key=lambda one: one[0])
    default = flatten(Config())
    return _with_defaults({key: value for key, value in saved.items() if key in default}) | {"resume": "never"}


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Add what is missing: defaults, but for runs of version 0.1.0 what they were trained with."""
    if "model.encoder" not in settings:
        settings |= {"model.encoder": "none"}
        if settings.get("loss.class_weights") == "auto":
            settings |= {"loss.class_weights": "balanced"}
    if "data.view" not in settings:
        settings |= {"data.view": "whole", "data.scale": 1.0, "data.keep_aspect": False}
    return flatten(Config()) | {"data.channels": 3} | settings


def _misplaced(folder: RunFolder) -> list[str]:
    """Set aside what is not a regular file in the place of files, and what is not a folder in the place of folders."""
    files = (folder.status, folder.version, folder.sent, folder.split, folder.config, folder.run, folder.check)
    folders = (folder.checkpoints, folder.images, folder.model)
    wrong = [path for path in (*files, folder.journal, folder.refused) if path.exists() and not path.is_file()]
    wrong += [path for path in folders if path.exists() and not path.is_dir()]
    return [
        f"{path}: {KINDS.get(stat.S_IFMT(path.stat().st_mode), 'a file')} in its place, now {set_aside(path)}"
        for path in wrong
    ]


def _broken(file: Path, kinds: dict[str, type]) -> bool:
    """Return whether a file is there, and not a JSON object whose values are of these kinds, where it has them."""
    content = read_object(file)
    return file.exists() and not (
        content and all(type(content.get(key, kind())) is kind for key, kind in kinds.items())
    )


def _sent_is_possible(folder: RunFolder) -> bool:
    content = read_object(folder.sent)
    return content.get("bytes") in (0, folder.sent_bytes) and content.get("values", 0) <= folder.sent_values_bytes


def _aside(file: Path) -> str:
    return f"{file}: damaged, now {set_aside(file).name}"


def _rebuild_run(folder: RunFolder) -> list[str]:
    """Write run.json anew from the settings and the folder's name, where the folder has settings."""
    settings = read_settings(folder)
    if not settings:
        return []
    kept = {key: value for key, value in read_object(folder.run).items() if type(value) is RUN_KEYS.get(key, str)}
    family = {"parent": Path(settings["tracking.parent"]).name} if settings.get("tracking.parent") else {}
    began = re.match(r"\d{8}-\d{6}", folder.path.name)
    seconds = time.mktime(time.strptime(began[0], "%Y%m%d-%H%M%S")) if began else folder.journal.stat().st_mtime
    known = {
        "uid": folder.path.name,
        "experiment": settings["tracking.experiment"],
        "run_name": settings["tracking.run_name"] or folder.path.name,
        "time": int(seconds * 1000),
        "tracked": settings["tracking.enabled"],
        "tags": {FAMILY_TAGS[key]: value for key, value in family.items()},
        **family,
    }
    text = _aside(folder.run) if folder.run.exists() else f"{folder.run}: missing"
    write_json(folder.run, known | kept)
    return [f"{text}; made again from the settings"]
