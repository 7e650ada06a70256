"""Handle of a training run: records go to its journal, and a thread sends them to MLflow."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trainer import InputError, printable, redact
from trainer.config import HUB, Config, TrackingConfig, flatten
from trainer.system.atomic import write_json
from trainer.system.provenance import versions
from trainer.system.run_folder import RunFolder
from trainer.tracking import store
from trainer.tracking.journal import Journal
from trainer.tracking.names import image_id, image_names, run_name
from trainer.tracking.sender import Sender

if TYPE_CHECKING:  # loads MLflow, which a run without tracking does not need
    from mlflow import MlflowClient

PAPER = (245, 245, 245)
"""Colour beside pictures that are not square, RGB."""

MOST_PARAMS = 8
"""Params of a run. MLflow's UI prints all of them above each image, and more push it off its card."""

COMPARED = ("model.encoder", "data.image_size", "optim.lr", "train.epochs", "train.batch_size")
"""Settings that are params of every run, so that runs can be compared by them."""

MOST_NAMED = 3
"""Changed settings in the name of a run."""

NOT_COMPARED = (
    *("resume", "data.root", "data.workers", "tracking.", "registry.", "train.checkpoint_minutes"),
    "train.timeout_minutes",
    "train.only_fold",
)
"""Beginnings of settings that never are: they decide nothing about the model."""


class Run:
    """Handle of one run: the engine records metrics, params, tags, images and files with it, and ends the run.

    Each record is appended to the journal, whether or not the tracking server answers. No method raises because of the
    server, and only `flush` waits for it; a full disk raises OSError.
    """

    def __init__(
        self,
        folder: RunFolder,
        client: "MlflowClient | None",
        tracked: bool,
        status_fields: Mapping[str, Any] | None = None,
    ) -> None:
        """`client`: None where the store has not answered yet; `tracked`: whether the records are sent at all.

        `status_fields`: facts of this start of the run, for every status.json.
        """
        self.folder, self.tracked = folder, tracked
        self.uid = folder.read_run()["uid"]
        self.journal = Journal(folder.journal)
        self.image_ids = {name.removesuffix(".png")[-36:] for name in self.journal.artifacts if name.endswith(".png")}
        self.status_fields = dict(status_fields or {})
        self.sender = Sender(folder, self.journal, client) if tracked else None

    @property
    def client(self) -> "MlflowClient | None":
        """Client of the store; None where the store did not answer the last time."""
        return self.sender and self.sender.client

    @property
    def last_error(self) -> str:
        """Error of the last attempt to send; empty after success."""
        return self.sender.error if self.sender else ""

    def metrics(self, values: Mapping[str, float], step: int, model: Mapping[str, str] | None = None) -> None:
        """Record points of curves at `step`.

        `model`: the model of MLflow that they are scores of, as `model_id`, and the dataset that they are about, as
        `dataset_name` and `dataset_digest`; MLflow's pages show them there too.
        """
        self.journal.metrics(values, step, **({"of_model": dict(model)} if model else {}))

    def params(self, values: Mapping[str, Any]) -> None:
        """Record settings and facts, as text without secrets. The first value of a key stays."""
        self.journal.params({key: printable(redact(str(value))) for key, value in values.items()})

    def tags(self, values: Mapping[str, Any]) -> None:
        """Record tags, as text without secrets. The last value of a key stays."""
        self.journal.append(tags={key: printable(redact(str(value))) for key, value in values.items()})

    def artifact(self, path: Path, to: str = "") -> None:
        """Record a file of the run folder, to be sent into the folder `to` of the run's artifacts."""
        self.journal.append(artifact=str(path.relative_to(self.folder.path)), to=to)

    def tables(self, paths: Sequence[Path], to: str = "") -> None:
        """Record files as `artifact` does, in the form of `MlflowClient.log_table`: MLflow's UI sorts their rows.

        They are all the tables of the run.
        """
        for path in paths:
            self.artifact(path, to)
        listed = [{"path": f"{to}/{path.name}" if to else path.name, "type": "table"} for path in paths]
        self.tags({"mlflow.loggedArtifacts": json.dumps(listed)})

    def dataset(
        self, name: str, digest: str, context: str, profile: Mapping[str, Any], model_id: str | None = None
    ) -> None:
        """Record the dataset of a `context`, training or validation; MLflow then groups runs by dataset.

        `model_id`: model of MLflow that is used on it.
        """
        name = run_name(name)
        entity = {
            # MLflow identifies a dataset by name and digest, and would drop the second context of the same one.
            "name": f"{name} ({context})",
            "digest": digest[:36],
            "source_type": "local",
            "source": json.dumps({"uri": name}),
            "profile": json.dumps(profile),
        }
        self.journal.append(dataset=entity, context=context, **({"uses_model": model_id} if model_id else {}))

    def has_image(self, key: str, step: int) -> bool:
        """Return whether this image was recorded already, by this start of the run or an earlier one."""
        return image_id(key, step, self.uid) in self.image_ids

    def image(self, key: str, image: np.ndarray, step: int) -> None:
        """Save and record an image, uint8 RGB [H, W, 3], that MLflow's UI shows under `key` and `step`."""
        folder = self.folder.images
        folder.mkdir(exist_ok=True)
        full, small = (folder / name for name in image_names(key, step, self.folder.read_run()["time"], self.uid))
        pil_image = Image.fromarray(image)
        pil_image.save(full)
        # The UI shows this one, in the middle of a square of which a card has room for the upper left part alone.
        square = Image.new("RGB", (max(pil_image.size),) * 2, PAPER)
        square.paste(pil_image)
        square.save(small, quality=85)
        for path in (full, small):
            self.artifact(path, "images")
        self.image_ids.add(image_id(key, step, self.uid))
        self.tags({"mlflow.loggedImages": True})

    def status(self, state: str, **details: Any) -> None:
        """Write status.json: `state`, time, run folder, number of unsent records, `status_fields` and `details`."""
        content: dict[str, Any] = {
            "state": state,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "run_folder": str(self.folder),
            "unsent_records": self.folder.unsent_records() if self.tracked else 0,
        }
        content |= {"refused": refused} if (refused := self.folder.read_refused()) else {}
        write_json(self.folder.status, content | self.status_fields | details)

    def register(self, name: str, tags: Mapping[str, str]) -> None:
        """Request that the model in the run folder becomes a version of the registered model `name`."""
        self.journal.append(model=name, model_tags=dict(tags))

    def resumed(self, step: int | None = None) -> None:
        """Record that this start continues the run, after `step` where it has steps."""
        self.journal.append(status="RUNNING")
        after = {} if step is None else {"resumed.after_step": str(step)}
        self.tags(after | {"resumed.time": time.strftime("%Y-%m-%dT%H:%M:%S%z")})

    def end(self, status: str) -> None:
        """Record the end of the run, with MLflow's status FINISHED, FAILED or KILLED."""
        self.journal.append(status=status)

    def flush(self, seconds: float) -> bool:
        """Send all unsent records, for at most `seconds`. Returns whether the server has everything."""
        return self.sender.flush(seconds) if self.sender else True

    def close(self) -> None:
        """Stop sending and close the journal."""
        if self.sender:
            self.sender.stop()
        self.journal.close()


def open_run(
    folder: RunFolder,
    tracking: TrackingConfig,
    new: bool,
    reachable: bool,
    log: Callable[[str, str], None],
    status_fields: Mapping[str, Any],
    model: str | None = None,
) -> Run:
    """Open the run of a folder, and its MLflow run where the store is `reachable`.

    `model`: name of the registered model that the run is to become a version of.

    Where the store refuses, `log` receives a text and its style; where the run must not start without the store,
    InputError is raised instead, and the folder of a `new` run is removed. It is raised too where a run would go on in
    another store than it began in.
    """
    client = None
    if tracking.enabled:
        store.require_begun_here(folder)
    if reachable:
        from trainer.tracking.permission import require_right_to_register
        from trainer.tracking.server import require_run

        try:
            require_right_to_register(model)
            client = require_run(folder)
        except store.OtherStoreError:
            raise
        except InputError as error:
            if not tracking.required:
                log(f"warning: {error}. Training continues; sync.py sends the run later", "yellow")
            else:
                if new:
                    shutil.rmtree(folder.path)
                raise
    return Run(folder, client, tracking.enabled, status_fields)


def log_settings(run: Run, config: Config, facts: Mapping[str, Any], title: str, data: Mapping[str, Any]) -> None:
    """Record settings, `facts`, versions and datasets.

    Few settings are params, which stay as an earlier start of the run has recorded them. All are in config.yaml; what
    is known of machine, program and data are tags. `title`: name of the dataset; `data`: its digest, and the names of
    the samples under train and val.
    """
    run.params(chosen_params(config))
    run.tags(dict(facts) | versions() | {"data": title, "data.digest": data["digest"]})
    run.tags({"data.train_samples": len(data["train"]), "model": f"{model_text(config)}, width {config.model.width}"})
    for context, part in (("training", "train"), ("validation", "val")):
        run.dataset(title, data["digest"], context, {"samples": len(data[part])})
    for file in (run.folder.config, run.folder.split, run.folder.check):
        run.artifact(file)


def chosen_params(config: Config) -> dict[str, Any]:
    """Settings that are params of a run: COMPARED, and of those that a person has changed the first few."""
    settings = flatten(config)
    keys = [*COMPARED, *(key for key in changed_settings(config) if key not in COMPARED)]
    return {key: settings[key] for key in keys[:MOST_PARAMS]}


def changed_settings(config: Config) -> list[str]:
    """Keys of the settings that decide about the model and differ from their defaults.

    What is auto by default is resolved by now: it differs without anybody's choice.
    """
    settings, defaults = flatten(config), flatten(Config())
    differing = [key for key, value in settings.items() if value != defaults[key] and defaults[key] != "auto"]
    return [key for key in differing if not key.startswith(NOT_COMPARED)]


def model_text(config: Config) -> str:
    """Network in a word, for names and tags."""
    encoder = config.model.encoder
    return "unet" if encoder == "none" else encoder.removeprefix("efficientnet-").removeprefix(HUB).rpartition("/")[2]


def run_title(title: str, config: Config) -> str:
    """Beginning of a run's name, from its data and what is not as usual: cats-128px-lite2-lr0.003-fold1."""
    settings = flatten(config)
    changed = [key for key in changed_settings(config) if key != "data.image_size" and not key.startswith("model.")]
    values = {key.rpartition(".")[2].replace("_", ""): settings[key] for key in changed}
    short = [f"{name}{value}" for name, value in values.items() if isinstance(value, int | float | str)]
    return "-".join([f"{title}-{config.data.image_size}px", model_text(config), *short[:MOST_NAMED]])
