"""One training run: its folder, its journal, and the thread that sends the journal to MLflow."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trainer import public
from trainer.config import REPOSITORY
from trainer.tracking.journal import Journal, unsent, write_json
from trainer.tracking.names import picture_id, picture_names
from trainer.tracking.sender import Sender

if TYPE_CHECKING:
    from mlflow import MlflowClient

PACKAGES = ("torch", "accelerate", "mlflow", "numpy", "pillow", "kornia")


class Run:
    """What a run tells. Nothing here raises because of the tracking server, and nothing but `flush` waits for it.

    `client` None: the server could not be reached, or tracking is off; the journal is written all the same.
    """

    def __init__(self, folder: Path, client: "MlflowClient | None", tracked: bool) -> None:
        self.folder, self.tracked = folder, tracked
        self.uid = self.info()["uid"]
        self.journal = Journal(folder / "journal.jsonl")
        self.pictures = {name.removesuffix(".png")[-36:] for name in self.journal.files if name.endswith(".png")}
        self.standing: dict[str, Any] = {}
        self.sender = Sender(folder, self.journal, client) if tracked else None

    @property
    def client(self) -> "MlflowClient | None":
        """The client of a store that answered when it was last asked."""
        return self.sender and self.sender.client

    @property
    def last_error(self) -> str:
        """Why the store could not be told everything; empty where it could."""
        return self.sender.error if self.sender else ""

    def info(self) -> dict[str, Any]:
        """What run.json holds: uid, experiment, run_name, and run_id once the server has given one."""
        content: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return content

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.journal.metrics(values, step)

    def params(self, values: Mapping[str, Any]) -> None:
        self.journal.params({key: public(str(value)) for key, value in values.items()})

    def tags(self, values: Mapping[str, Any]) -> None:
        self.journal.append(tags={key: public(str(value)) for key, value in values.items()})

    def artifact(self, path: Path, to: str = "") -> None:
        """A file of the run folder, sent into the folder `to` of the run's artifacts."""
        self.journal.append(artifact=str(path.relative_to(self.folder)), to=to)

    def dataset(self, name: str, digest: str, context: str, profile: Mapping[str, Any]) -> None:
        """The data of `context` (training or validation), so that runs on other data can be told apart."""
        name = public(name)
        entity = {
            # MLflow holds a dataset to be the same one, and drops the second context, where name and digest agree.
            "name": f"{name} ({context})",
            "digest": digest[:36],
            "source_type": "local",
            "source": json.dumps({"uri": name}),
            "profile": json.dumps(profile),
        }
        self.journal.append(dataset=entity, context=context)

    def has_picture(self, key: str, step: int) -> bool:
        """Whether this start of the run or an earlier one has told this picture."""
        return picture_id(key, step, self.uid) in self.pictures

    def picture(self, key: str, image: np.ndarray, step: int) -> None:
        """A picture, uint8 RGB [H, W, 3], that the UI shows by step."""
        folder = self.folder / "pictures"
        folder.mkdir(exist_ok=True)
        full, small = (folder / name for name in picture_names(key, step, self.info()["time"], self.uid))
        picture = Image.fromarray(image)
        picture.save(full)
        picture.thumbnail((256, 256))
        picture.save(small)
        for path in (full, small):
            self.artifact(path, "images")
        self.pictures.add(picture_id(key, step, self.uid))
        self.tags({"mlflow.loggedImages": True})

    def status(self, state: str, **details: Any) -> None:
        """Write status.json: what anyone who asks how the run is should read. `standing` is in all of them."""
        content: dict[str, Any] = {
            "state": state,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "run_folder": str(self.folder),
        }
        content |= {"unsent_records": unsent(self.folder) if self.tracked else 0}
        shown = {key: public(value) if isinstance(value, str) else value for key, value in details.items()}
        write_json(self.folder / "status.json", content | self.standing | shown)

    def register(self, name: str, tags: Mapping[str, str]) -> None:
        """Have the model in the run folder become a version of the registered model `name`."""
        self.journal.append(model=name, model_tags=dict(tags))

    def resumed(self, step: int) -> None:
        """An earlier start of this run ended, in whatever way; this one goes on after `step`."""
        self.journal.append(status="RUNNING")
        self.tags({"resumed.after_step": str(step), "resumed.time": time.strftime("%Y-%m-%dT%H:%M:%S%z")})

    def end(self, status: str) -> None:
        """The run is over: FINISHED, FAILED or KILLED."""
        self.journal.append(status=status)

    def flush(self, seconds: float) -> bool:
        """Send what is left, for at most `seconds`. True where the server has everything."""
        return self.sender.flush(seconds) if self.sender else True

    def close(self) -> None:
        if self.sender:
            self.sender.stop()
        self.journal.close()


def new_run_folder(work: Path, experiment: str, run_name: str, tracked: bool) -> Path:
    """Make `mlruns/work/<uid>/`. The uid is ours, so that a run is the same one whether or not a server knows it."""
    uid = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    folder = work / uid
    (folder / "checkpoints").mkdir(parents=True)
    info = {
        "uid": uid,
        "experiment": experiment,
        "run_name": run_name,
        "time": time.time_ns() // 1_000_000,
        "tracked": tracked,
    }
    write_json(folder / "run.json", info | {"tags": source_tags()})
    (folder / "journal.jsonl").touch()
    return folder


def source_tags() -> dict[str, str]:
    """Who runs what: the program, the commit, and whether files differ from it."""
    tags = {
        "mlflow.source.name": "trainer/train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": os.environ.get("USER") or os.environ.get("LOGNAME") or "unknown",
    }
    commit = git("rev-parse", "HEAD")
    if commit:
        tags |= {"mlflow.source.git.commit": commit, "git.dirty": str(bool(git("status", "--porcelain"))).lower()}
    return tags


def git(*arguments: str) -> str:
    """What git says of this repository; empty where there is no git or no repository."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on."""
    found = {"versions.python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[f"versions.{name}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
