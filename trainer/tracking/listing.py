"""Listing of a model's files by a store, before one is downloaded: their sizes, and that they are files."""

from pathlib import Path, PurePosixPath

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from trainer import InputError


def require_listed(uri: str, name: str, most_bytes: int) -> None:
    """Check that the folder at `uri`, such as models:/name/3, lists a file `name` of at most `most_bytes`.

    In a store on this machine it must be a regular file and no link, which downloading would follow. Raises InputError
    otherwise, and MLflow's errors where nothing can be listed.
    """
    root, path = (uri, "") if uri.startswith("models:") else uri.rpartition("/")[::2]
    store = get_artifact_repository(root)
    listed = {PurePosixPath(one.path).name: one for one in store.list_artifacts(path or None)}
    entry = listed.get(name)
    if entry is None or entry.is_dir:
        raise InputError(f"{uri}: holds no model of this program ({name} is missing)")
    if (entry.file_size or 0) > most_bytes:
        raise InputError(f"{uri}: {name} has {entry.file_size:,} bytes, more than {most_bytes:,}; it is not downloaded")
    store = getattr(store, "repo", store)  # the one behind models:/ and runs:/
    file = Path(store.artifact_dir) / path / name if isinstance(store, LocalArtifactRepository) else None
    if file is not None and (file.is_symlink() or not file.is_file()):
        raise InputError(f"{uri}: {name} is a link or no file; it is not followed. Register the model again")
