"""Folder of a Hugging Face model, as `model.encoder hf:...` names it: its files, normalisation and licence.

Nothing is downloaded, none of its code is run, and its weights are read from safetensors alone.
"""

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as abbreviate
from typing import Any

import yaml

from trainer import InputError
from trainer.config import HUB, ModelConfig, install_command
from trainer.system.regular_file import read_regular

MOST_BYTES = 1_000_000
"""Largest config.json, preprocessor_config.json or README.md that is read, in bytes."""

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""Files of which one must be there: the weights, or the index of several files of them."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
"""Weights in forms that are not read: pickle can run code, and the others are of other frameworks."""

PERMISSIVE = ("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "zlib", "unlicense", "cc0-1.0")
"""Licences, by their names on the hub, that let a model be used for anything."""

UNKNOWN = "unknown"
"""Licence of a model without one in its README.md."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation, of levels 0..1, of a model that states none."""


@dataclass(frozen=True)
class HubFolder:
    """Folder with config.json and weights."""

    name: str
    """ID on the hub, or the folder's own name: `owner/model` or `model`, without other separators or blanks."""

    path: Path


def check_encoder(model: ModelConfig) -> None:
    """Raise InputError where model.encoder names a folder that cannot be used, as far as its files' names tell."""
    if model.encoder.startswith(HUB) and model.init is None:  # whose encoder needs no folder
        find_folder(model.encoder)


def find_folder(setting: str) -> HubFolder:
    """Find the folder of a value of model.encoder, `hf:FOLDER` or `hf:ID`, without opening a network connection.

    Raises InputError where there is none, where it has no safetensors, or the package that builds it is missing.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InputError(
            f"model.encoder: {setting} needs the package transformers; install it with\n  {install_command('hf')}"
        )
    given = setting.removeprefix(HUB)
    path = Path(given).expanduser()
    if path.is_dir():
        folder = HubFolder(re.sub(r"[^\w.-]", "_", path.resolve().name).lstrip(".-") or "model", path)
    else:
        folder = HubFolder(given, _find_in_cache(given))
    if not (folder.path / "config.json").is_file():
        raise InputError(f"{folder.path}: no Hugging Face model there (config.json is missing)")
    if not any((folder.path / name).is_file() for name in WEIGHTS):
        others = sorted(file.name for pattern in PICKLES for file in folder.path.glob(pattern))
        found = f"{', '.join(others[:3])} could run code and is not read" if others else "there are no weights"
        raise InputError(
            f"{folder.path}: {WEIGHTS[0]} is missing, and {found}; take a model or revision with safetensors, or "
            "convert this one with save_pretrained of transformers"
        )
    return folder


def read_config(folder: HubFolder) -> dict[str, Any]:
    """Content of config.json. Raises InputError where it is not a JSON object."""
    return _read_json(folder.path / "config.json")


def read_normalisation(folder: HubFolder) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of RGB levels 0..255 by preprocessor_config.json, or else ImageNet's.

    Raises InputError where the file states what is none.
    """
    file = folder.path / "preprocessor_config.json"
    content = _read_json(file) if file.is_file() else {}
    mean, std = content.get("image_mean", IMAGENET_MEAN), content.get("image_std", IMAGENET_STD)
    scale = content.get("rescale_factor", 1 / 255) if content.get("do_rescale", True) else 1.0
    if content.get("do_normalize", True) is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    try:
        (a, b, c), (d, e, f) = ((float(one) / scale for one in three) for three in (mean, std))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{file}: image_mean {abbreviate(mean)}, image_std {abbreviate(std)} and rescale_factor "
            f"{abbreviate(scale)} are not a normalisation of three colours; remove the file for ImageNet's"
        ) from error
    return (a, b, c), (d, e, f)


def read_licence(folder: HubFolder) -> str:
    """Licence by the first lines of README.md, such as `apache-2.0`; UNKNOWN where it names none."""
    file = folder.path / "README.md"
    try:
        text = read_regular(file, MOST_BYTES).decode(errors="replace")
    except (OSError, InputError):
        return UNKNOWN
    front = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        facts = yaml.safe_load(front[1]) if front else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return UNKNOWN
    if not isinstance(facts, dict):
        return UNKNOWN
    licences = facts.get("license")
    named = [f"{one}" for one in (licences if isinstance(licences, list) else [licences]) if one]
    if facts.get("license_name"):
        named.append(f"{facts['license_name']}")
    return ", ".join(" ".join(one.split())[:100] for one in named[:5]) or UNKNOWN


def licence_notice(name: str, licence: str) -> str:
    """Line for people on a licence that may not allow every use; empty where it does."""
    if licence == "" or all(one in PERMISSIVE for one in licence.split(", ")):
        return ""
    if licence == UNKNOWN:
        return f"model.encoder {name}: its model card states no licence; find out what it may be used for"
    return f"model.encoder {name}: licence {licence}, which may not allow every use; the trained model falls under it"


def _find_in_cache(given: str) -> Path:
    """Snapshot of a model in the user's hub cache. Raises InputError with the command that fetches it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", given):
        raise InputError(
            f"model.encoder: {HUB}{given}: there is no such folder; give one, or an ID such as owner/model"
        )
    try:
        return Path(snapshot_download(given, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise InputError(
            f"model.encoder: {HUB}{given}: no such folder, and not in the hub cache; this program downloads nothing, "
            f"fetch it with: hf download {given}"
        ) from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_regular(file, MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error}); fetch the model again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: not a JSON object; fetch the model again")
    return content
