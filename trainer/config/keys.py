"""Settings by dotted keys, and as the YAML that `--config` reads."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import yaml

from trainer import redact_all
from trainer.config.config import Config


def flatten(config: Config) -> dict[str, Any]:
    """Settings by dotted keys: {"resume": ..., "data.root": ..., "train.epochs": ...}."""
    return dotted(dataclasses.asdict(config))


def dotted(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted keys, from the sections of a YAML file."""
    flat: dict[str, Any] = {}
    for name, part in sections.items():
        flat |= {f"{name}.{key}": value for key, value in part.items()} if isinstance(part, Mapping) else {name: part}
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of a YAML file, from values by dotted keys: the reverse of `dotted`."""
    sections: dict[str, Any] = {}
    for name, value in flat.items():
        section, separator, key = name.partition(".")
        if separator:
            sections.setdefault(section, {})[key] = value
        else:
            sections[name] = value
    return sections


def to_yaml(config: Config) -> str:
    """All settings as YAML without secrets, for a new run: `--config` reads the same settings from it."""
    settings = dataclasses.asdict(dataclasses.replace(config, resume="never"))
    text = yaml.safe_dump(redact_all(settings), sort_keys=False)
    # A byte of a path that is not UTF-8 is not YAML either: it is written as `_existing` in data.py reads it.
    return re.sub(r"(?<!\\)\\uDC([89A-F][0-9A-F])", r"\\\\x\1", text)
