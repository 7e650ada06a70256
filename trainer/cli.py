"""Command line of train.py: one sentence, the key and the fix for every mistake.

Only light imports here: `--help` and a mistyped key must answer at once, before torch is loaded.
"""

import dataclasses
import difflib
import re
import sys
from argparse import Action
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from trainer import EXIT_INPUT, InputError, learn_secrets, redact_all
from trainer.config import MLRUNS, Config, flatten, nested
from trainer.engine.checkpoint import choice
from trainer.system.entry import is_main_process
from trainer.system.installation import usage
from trainer.system.provenance import program_version
from trainer.system.repair import known_settings
from trainer.system.run_folder import run_folder_of


def parse(arguments: list[str] | None = None) -> Config:
    """Read the command line of train.py. Exits with code 2, the key and the fix where something is wrong."""
    try:
        return read(sys.argv[1:] if arguments is None else arguments)
    except InputError as error:
        if is_main_process():  # every process finds the same mistake
            print(f"train.py: {error}", file=sys.stderr)
        sys.exit(EXIT_INPUT)


def read(given: list[str]) -> Config:
    """Read settings as train.py does. Raises InputError with the key and the fix."""
    # The docstrings of the settings, whose reading takes half of the time, are shown there alone.
    shown = any(word.startswith(("-h", "--help", "--print_config")) for word in given)
    set_parsing_settings(docstring_parse_attribute_docstrings=shown)
    parser = _parser()
    _learn_secrets(value for option, value in pairwise(given) if option == "--config")
    try:
        config = _frozen(parser, parser.parse_args(_with_own_config(given)))
        if redact_all(config.registry.name) != config.registry.name:  # the model's address cannot be changed
            raise InputError("registry.name: a password is in it; give another name")
        if config.resume not in choice.WORDS:
            run_folder_of(config.resume)
        return config
    except (InputError, ArgumentError) as error:
        files = [value for option, value in pairwise(given) if option == "--config"]
        text = str(error).replace('"<unicode string>"', " or ".join(files))
    except UnicodeDecodeError:
        text = "--config: not a text file in UTF-8"
    raise InputError(_explain(text))


def setting_check() -> Callable[[str, Any], None]:
    """Make a function of a dotted key and a value, which raises InputError where that setting cannot have it.

    Settings of other sections may still exclude the value.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=False)
    parser = _parser()

    def check(key: str, value: Any) -> None:
        # A text is given as it is: quoted by YAML, it would keep the quotes.
        word = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n...")[0]
        try:
            parser.instantiate(parser.parse_args([f"--{key}={word.strip()}"]))
        except (InputError, ArgumentError) as error:
            raise InputError(_explain(str(error))) from None

    return check


def _parser() -> "_Parser":
    parser = _Parser(
        prog=usage("train"),
        description="Train a UNet on labelled pictures.",
        formatter_class=_HelpFormatter,
        version=program_version(),
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below; may be repeated.")
    parser.add_class_arguments(Config, as_group=True)
    return parser


def _with_own_config(given: list[str]) -> list[str]:
    """Add the settings of the run that is resumed, where the command line leaves open which training is meant."""
    options = dict(word.split("=", 1) for word in given if word.startswith("--") and "=" in word) | dict(
        pairwise(given)
    )
    resume = options.get("--resume", "never")
    keys = [word[2:].partition("=")[0] for word in given if word.startswith("--")]
    if resume == "never" or "config" in keys or "-h" in given:
        return given
    if resume in choice.WORDS:
        if not choice.says_nothing_of_the_training(keys):
            return given
        folder, unreadable = choice.newest_unfinished(MLRUNS / "work")
        if unreadable and is_main_process():
            names = ", ".join(str(one) for one in unreadable)
            print(f"train.py: warning: left out, since no settings can be read there: {names}", file=sys.stderr)
        if folder is None and resume == choice.LATEST_OR_NEW:
            return given
        if folder is None:
            raise choice.nothing_unfinished(MLRUNS / "work")
    else:
        folder = run_folder_of(resume)
    settings = known_settings(folder)
    if not settings:
        raise InputError(f"{folder.config}: damaged, and no checkpoint has its settings; give them with --config")
    return ["--config", yaml.safe_dump(nested(settings), sort_keys=False), *given]


def _learn_secrets(files: Iterable[str]) -> None:
    """Learn the secrets in configuration files, which errors repeat."""
    for file in files:
        with suppress(OSError, ValueError):
            for line in Path(file).read_text(encoding="utf-8").splitlines():
                learn_secrets(line)


def _frozen(parser: ArgumentParser, namespace: Any) -> Config:
    for part in dataclasses.fields(Config):
        if part.default is dataclasses.MISSING and not isinstance(namespace.get(part.name), Namespace):
            raise InputError(f"{part.name}: {namespace.get(part.name)!r} is not possible; give keys with values")
    parts = parser.instantiate(namespace)
    return Config(**{part.name: parts[part.name] for part in dataclasses.fields(Config)})


class _HelpFormatter(DefaultHelpFormatter):
    """Formatter that leaves Python's types out of the help: the texts say what may be given."""

    def _get_help_string(self, action: Action) -> str:
        text: str = super()._get_help_string(action)
        return text.replace("type: %(type)s, ", "")


class _Parser(ArgumentParser):
    """Parser whose errors are one sentence; jsonargparse adds usage lines and nested causes."""

    def error(self, message: str, exception: Exception | None = None) -> NoReturn:
        raise InputError(message) from exception


def _explain(message: str) -> str:
    """Make one sentence of jsonargparse's several lines: the key, the value, what is wanted."""
    unknown = re.search(r"arguments?: --([\w.]+)|Key '([\w.]+)'|(?:does not accept o|O)ption '([\w.]+)'", message)
    if unknown:
        section = re.search(r"Group '([\w.]+)'", message)
        key = next(group for group in unknown.groups() if group)
        return _unknown(f"{section[1]}.{key}" if section and "." not in key else key)
    if message.startswith("Unexpected config"):
        return "--config: a file without settings; write sections with keys and values, such as train: {epochs: 10}"
    wrong = re.search(r'Parser key "([\w.]+)":', message)
    got = re.search(r"(?:Got|Given) value: (.*)", message)
    if wrong and got:
        types = {
            kind.strip("<>").removeprefix("class ").strip("'")
            for kind in re.findall(r"Expected a (\S+\[.*\]|<.*?>)", message)
        }
        wanted = " or ".join(
            sorted(kind.replace("typing.Literal", "one of ").replace("NoneType", "null") for kind in types)
        )
        hints = {
            "data.value_map": "; YAML wants a space after each colon",
            "data.classes": f", such as [{got[1].strip()}]",
        }
        hint = hints.get(wrong[1], "")
        return f"{wrong[1]}: {got[1].strip()!r} is not possible; give {wanted or 'a value that --help allows'}{hint}"
    return " ".join(line.strip(" -") for line in message.splitlines() if line.strip())


def _unknown(key: str) -> str:
    keys = list(flatten(Config()))
    names = {name.split(".")[-1]: name for name in keys} | {name: name for name in keys}
    near = difflib.get_close_matches(key, list(names), n=1, cutoff=0.5)
    return f"{key}: no such key; " + (f"did you mean {names[near[0]]}?" if near else "--help lists them")
