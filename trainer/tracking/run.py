"""One training run: its folder, its journal, and the thread that sends the journal to MLflow."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trainer import redact
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder
from trainer.tracking.journal import Journal
from trainer.tracking.names import image_id, image_names
from trainer.tracking.sender import Sender

if TYPE_CHECKING:
    from mlflow import MlflowClient

import shutil
from collections.abc import Callable

from trainer import InputError
from trainer.config import Config, TrackingConfig, flatten
from trainer.system.provenance import versions


class Run:
    """What a run tells. Nothing here raises because of the tracking server, and nothing but `flush` waits for it.

    `client` None: the server could not be reached, or tracking is off; the journal is written all the same.
    """

    def __init__(self, folder: RunFolder, client: "MlflowClient | None", tracked: bool) -> None:
        self.folder, self.tracked = folder, tracked
        self.uid = folder.read_run()["uid"]
        self.journal = Journal(folder.journal)
        self.images = {name.removesuffix(".png")[-36:] for name in self.journal.files if name.endswith(".png")}
        self.status_fields: dict[str, Any] = {}
        self.sender = Sender(folder, self.journal, client) if tracked else None

    @property
    def client(self) -> "MlflowClient | None":
        """The client of a store that answered when it was last asked."""
        return self.sender and self.sender.client

    @property
    def last_error(self) -> str:
        """Why the store could not be told everything; empty where it could."""
        return self.sender.error if self.sender else ""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.journal.metrics(values, step)

    def params(self, values: Mapping[str, Any]) -> None:
        self.journal.params({key: redact(str(value)) for key, value in values.items()})

    def tags(self, values: Mapping[str, Any]) -> None:
        self.journal.append(tags={key: redact(str(value)) for key, value in values.items()})

    def artifact(self, path: Path, to: str = "") -> None:
        """A file of the run folder, sent into the folder `to` of the run's artifacts."""
        self.journal.append(artifact=str(path.relative_to(self.folder.path)), to=to)

    def dataset(self, name: str, digest: str, context: str, profile: Mapping[str, Any]) -> None:
        """The data of `context` (training or validation), so that runs on other data can be told apart."""
        name = redact(name)
        entity = {
            # MLflow holds a dataset to be the same one, and drops the second context, where name and digest agree.
            "name": f"{name} ({context})",
            "digest": digest[:36],
            "source_type": "local",
            "source": json.dumps({"uri": name}),
            "profile": json.dumps(profile),
        }
        self.journal.append(dataset=entity, context=context)

    def has_image(self, key: str, step: int) -> bool:
        """Whether this start of the run or an earlier one has told this picture."""
        return image_id(key, step, self.uid) in self.images

    def image(self, key: str, image: np.ndarray, step: int) -> None:
        """A picture, uint8 RGB [H, W, 3], that the UI shows by step."""
        folder = self.folder.images
        folder.mkdir(exist_ok=True)
        full, small = (folder / name for name in image_names(key, step, self.folder.read_run()["time"], self.uid))
        picture = Image.fromarray(image)
        picture.save(full)
        picture.thumbnail((256, 256))
        picture.save(small)
        for path in (full, small):
            self.artifact(path, "images")
        self.images.add(image_id(key, step, self.uid))
        self.tags({"mlflow.loggedImages": True})

    def status(self, state: str, **details: Any) -> None:
        """Write status.json: what anyone who asks how the run is should read. `status_fields` is in all of them."""
        content: dict[str, Any] = {
            "state": state,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "run_folder": str(self.folder),
        }
        content |= {"unsent_records": self.folder.unsent_records() if self.tracked else 0}
        shown = {key: redact(value) if isinstance(value, str) else value for key, value in details.items()}
        write_json(self.folder.status, content | self.status_fields | shown)

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


def open_run(
    folder: RunFolder, tracking: TrackingConfig, new: bool, reachable: bool, log: Callable[[str, str], None]
) -> Run:
    """The run of a folder, with its MLflow run where the store is `reachable`.

    Where the store refuses, `log` is told; or InputError is raised where the run may not do without, and a `new` folder
    removed.
    """
    client = None
    if reachable:
        from trainer.tracking.server import open_run as open_on_server

        try:
            client = open_on_server(folder)
        except InputError as error:
            if not tracking.required:
                log(f"warning: {error}. Training goes on; sync.py sends the run later", "yellow")
            else:
                if new:
                    shutil.rmtree(folder.path)
                raise
    return Run(folder, client, tracking.enabled)


def log_settings(run: Run, config: Config, facts: Mapping[str, Any], title: str, data: Mapping[str, Any]) -> None:
    """Settings, hardware, versions and data. What an earlier start of the run has told stays as it is."""
    run.params(flatten(config) | dict(facts) | versions() | {"data.digest": data["digest"]})
    run.params({"data.train_samples": len(data["train"])})
    for context, part in (("training", "train"), ("validation", "val")):
        run.dataset(title, data["digest"], context, {"samples": len(data[part])})
    for file in (run.folder.config, run.folder.split, run.folder.check):
        run.artifact(file)
