"""Addresses of models, in every form that MLflow's pages show. Without mlflow."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from trainer import InputError
from trainer.system.installation import require

FORMS = "models:/name@alias, models:/name/3, models:/name/latest, models:/m-..., runs:/RUN_ID/model or a model folder"

MOST_DIGITS = 9
"""Most digits of a version that a registry's database can hold."""

MODEL_ID, RUN_ID = r"m-[0-9a-f]{32}", r"[0-9a-f]{32}"


@dataclass(frozen=True)
class Address:
    """A model's address, taken apart. One of `folder`, `run_id`, `model_id` and `name` is set."""

    text: str
    """As it was given."""

    folder: Path | None = None
    run_id: str = ""
    path: str = ""
    """Path of the model within the artifacts of the run, or the name that it was logged under."""

    model_id: str = ""
    name: str = ""
    """Name of a registered model; with it, `alias`, or `version`: a number, `latest`, or empty where none is given."""

    alias: str = ""
    version: str = ""


def parse_address(text: str) -> Address:
    """Take an address apart. Raises InputError, with the address to use, for one that no model can have."""
    given = text.strip()
    if folder := _local_folder(given):
        return Address(given, folder=folder)
    scheme, separator, rest = given.partition(":")
    if separator and scheme == "models":
        return _parse_models(given, _without_slashes(rest))
    if separator and scheme == "runs":
        run_id, _, path = _without_slashes(rest).partition("/")
        if not run_id:
            raise InputError(f"{given}: no run is named; give runs:/RUN_ID/model")
        return Address(given, run_id=run_id, path=path)
    if re.fullmatch(MODEL_ID, given):
        return Address(given, model_id=given)
    if re.fullmatch(RUN_ID, given):
        return Address(given, run_id=given)
    if "://" in given or scheme in ("mlflow-artifacts", "file", "dbfs"):
        return _parse_place(given)
    return _parse_path(given)


def check_address(text: str) -> None:
    """Raise InputError for an address that no model can have, or that needs packages which are not installed.

    For callers that load heavy packages afterwards.
    """
    if parse_address(text).folder is None:
        require("registry", f"{text.strip()}: a model of MLflow")


def _without_slashes(rest: str) -> str:
    return rest.strip("/").strip()


def _parse_models(text: str, rest: str) -> Address:
    """models:/name@alias, models:/name/3, models:/name/latest, models:/m-ID; a path to a file in it is left out."""
    found = re.match(rf"({MODEL_ID})(/|$)", rest)
    if found:
        return Address(text, model_id=found[1])
    name, _, after = rest.partition("/")
    if "@" in name:
        name, _, alias = name.rpartition("@")
        if name and alias:
            return Address(text, name=name, alias=alias)
        raise InputError(f"{text}: the {'alias' if name else 'name'} is missing; give {FORMS}")
    version = after.partition("/")[0]
    if not name:
        raise InputError(f"{text}: the name is missing; give {FORMS}")
    if version and not re.fullmatch(r"[0-9]+|latest", version):
        forms = f"models:/{name}/3, models:/{name}/latest or an alias"
        raise InputError(f"{text}: {version!r} is not a version; give {forms}")
    return Address(text, name=name, version=version)


def _parse_place(text: str) -> Address:
    """Address of a page, or the full path of an artifact, as MLflow's pages let one copy it."""
    if found := re.search(rf"/models/({MODEL_ID})(/|$)", text):
        return Address(text, model_id=found[1])
    if found := re.search(r"#/models/([^/?]+)/versions/([0-9]+)", text):
        return Address(text, name=unquote(found[1]), version=found[2])
    if found := re.search(r"#/models/([^/?]+)", text):
        return Address(text, name=unquote(found[1]))
    if found := re.search(rf"/({RUN_ID})/artifacts/([^?#]+)", text) or re.search(rf"/runs/({RUN_ID})()", text):
        return Address(text, run_id=found[1], path=found[2].strip("/"))
    if text.startswith("file:"):
        return _parse_path(url2pathname(urlsplit(text).path))
    raise InputError(f"{text}: no address of a model; give {FORMS}")


def _parse_path(text: str) -> Address:
    """A local path; that of a file in a model folder stands for the folder."""
    if folder := _local_folder(text):
        return Address(text, folder=folder)
    advice = f"give {FORMS}"
    if found := re.fullmatch(r"([^/:@\s]+)(@[^/:@\s]+|/[0-9]+|/latest)", text):
        advice = f"for a registered model, models:/{found[0]}; or {advice}"
    raise InputError(f"{text}: no such folder; {advice}")


def _local_folder(text: str) -> Path | None:
    """Folder of this path, or that holds the file of this path; None where there is neither."""
    try:
        path = Path(text)
        return path if text and path.is_dir() else path.parent if path.is_file() else None
    except (OSError, ValueError):  # too long for a name, say
        return None
