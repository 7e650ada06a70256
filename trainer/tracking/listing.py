"""Listing of a model's files by a store, before one is downloaded: their sizes, and that they are files."""

from pathlib import Path, PurePosixPath
from typing import Any

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from trainer import InputError


def is_listed(uri: str, name: str) -> bool:
    """Return whether the folder at `uri` lists a file `name`. Raises MLflow's errors where nothing can be listed."""
    return name in _list(uri)[1]


def require_listed(uri: str, name: str, most_bytes: int) -> None:
    """Check that the folder at `uri`, such as models:/name/3, lists a file `name` of at most `most_bytes`.

    In a store on this machine it must be a regular file and no link, which downloading would follow. Raises InputError
    otherwise, and MLflow's errors where nothing can be listed.
    """
    store, listed = _list(uri)
    entry = listed.get(name)
    if entry is None or entry.is_dir:
        raise InputError(f"{uri}: holds no model of this program ({name} is missing)")
    if (entry.file_size or 0) > most_bytes:
        raise InputError(f"{uri}: {name} has {entry.file_size:,} bytes, more than {most_bytes:,}; it is not downloaded")
    store = getattr(store, "repo", store)  # the one behind models:/ and runs:/
    path = _split(uri)[1]
    file = Path(store.artifact_dir) / path / name if isinstance(store, LocalArtifactRepository) else None
    if file is not None and (file.is_symlink() or not file.is_file()):
        raise InputError(f"{uri}: {name} is a link or no file; it is not followed. Register the model again")


def _list(uri: str) -> tuple[Any, dict[str, FileInfo]]:
    """Store behind a URI, and what the folder there holds, by name."""
    root, path = _split(uri)
    store = get_artifact_repository(root)
    return store, {PurePosixPath(one.path).name: one for one in store.list_artifacts(path or None)}


def _split(uri: str) -> tuple[str, str]:
    """Root for which MLflow has a store, and the path below it."""
    if uri.startswith("models:"):
        return uri, ""
    root, _, path = uri.rpartition("/")
    return root, path
