"""The command by which the trainings of a project are launched: that of a person who trains by hand."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer import InputError
from trainer.system.text import join

AUTO, NONE = "auto", "none"
"""By `accelerate launch` where a person has set that up or there are several GPUs; one process, without a launcher."""

MODULES = {"accelerate launch": "accelerate.commands.launch", "torchrun": "torch.distributed.run"}
"""Launcher -> its module, which this Python runs whether or not it is on the PATH."""

CONFIG_OPTIONS = ("--config_file", "--config-file")


def check_launch(text: str, folder: Path) -> str:
    """Return the setting with the path of its configuration made absolute; a relative one begins in `folder`.

    Raises InputError where it is none of AUTO, NONE, and the launchers with their options.
    """
    if text in (AUTO, NONE):
        return text
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"launch: {text}: not a shell command ({error}); fix it") from error
    if not any(_begins(words, name.split()) for name in MODULES):
        one = " or ".join(f"'{name} OPTIONS'" for name in MODULES)
        raise InputError(f"launch: {text!r} is not possible; give {one}, {NONE} or {AUTO}")
    if script := next((word for word in words if word.endswith(".py")), ""):
        raise InputError(f"launch: {script}: leave it out; the round names what is launched, and its settings")
    for place, word in enumerate(words):
        name, separator, value = word.partition("=")
        if name in CONFIG_OPTIONS and (separator or place + 1 < len(words)):
            file = Path(os.path.abspath(folder / (value if separator else words[place + 1])))
            if not file.is_file():
                raise InputError(f"launch: {name} {file}: no such file; name one that exists")
            words[place : place + 2 - bool(separator)] = [f"{name}={file}"]
    return join(words)


def launch_words(setting: str, gpus: int) -> list[str]:
    """Words before the script, from a checked setting; none for one process without a launcher."""
    if setting == NONE or (setting == AUTO and gpus < 2 and not _has_default_config()):
        return []
    words = shlex.split("accelerate launch" if setting == AUTO else setting)
    length, module = next((len(name.split()), MODULES[name]) for name in MODULES if _begins(words, name.split()))
    return [sys.executable, "-m", module, *words[length:]]


def _begins(words: Sequence[str], name: Sequence[str]) -> bool:
    return list(words[: len(name)]) == list(name)


def _has_default_config() -> bool:
    """Return whether `accelerate config` has written a file, which `accelerate launch` takes."""
    cache = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    folder = Path(cache).expanduser() / "accelerate"
    return any((folder / name).is_file() for name in ("default_config.yaml", "default_config.json"))
