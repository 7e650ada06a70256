"""Runs of kind evaluation: opened when an evaluation is complete, and linked to the model that was evaluated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainer import InputError, redact
from trainer.config import TrackingConfig
from trainer.system.atomic import write_json
from trainer.system.run_folder import EVALUATION, new_run_folder, read_object
from trainer.system.text import show
from trainer.tracking import store
from trainer.tracking.ancestor import images_of
from trainer.tracking.errors import deleted_experiment, store_errors
from trainer.tracking.names import run_name
from trainer.tracking.run import Run


@dataclass(frozen=True)
class Source:
    """Origin of a model that is evaluated."""

    origin: Mapping[str, str] = field(default_factory=dict)
    """URI, name, version, alias and run id, where known."""

    model_id: str = ""
    """Model of MLflow that the scores are linked to."""

    experiment: str = ""
    """Experiment of the run that trained it."""

    trained_on: frozenset[str] | None = None
    """Hashes of the images that trained it, as `ScoredImage.image` has them; None: unknown."""

    @property
    def title(self) -> str:
        """Model in a few words, such as cat-unet v3."""
        if "version" in self.origin:
            return f"{self.origin['name']} v{self.origin['version']}"
        return self.origin.get("uid") or self.origin.get("run_id") or Path(self.origin["uri"]).name

    @property
    def uri(self) -> str:
        """Address of the very version, wherever its alias points later."""
        origin = self.origin
        return f"models:/{origin['name']}/{origin['version']}" if "version" in origin else origin["uri"]


def check_store(tracking: TrackingConfig, warn: Callable[[str], None]) -> bool:
    """Return whether the store takes a run now, before any work is done for it.

    Raises InputError where it does not, and tracking.required is set; otherwise `warn` is told.
    """
    if not tracking.enabled:
        return False
    try:
        store.probe()
        from trainer.tracking import server

        client = server.connect()
        if tracking.experiment != "auto":
            with store_errors():
                found = client.get_experiment_by_name(redact(tracking.experiment))
            if found is not None and found.lifecycle_stage == "deleted":
                raise deleted_experiment("tracking.experiment", tracking.experiment, found.experiment_id)
    except InputError as error:
        if tracking.required:
            raise InputError(f"{error}. Or evaluate without it: --tracking.required false") from error
        warn(f"{error}. The evaluation continues; its run is kept, and sync.py sends it")
        return False
    return True


def check_right(tracking: TrackingConfig, source: Source, title: str, warn: Callable[[str], None]) -> Source:
    """Find out whether the evaluation of a model may be recorded, before it is made; `title`: name of the data.

    Returns the source, without MLflow's model where the scores may not be added to that. Raises InputError where
    nothing may be recorded, and tracking.required is set; otherwise `warn` is told.
    """
    from trainer.tracking.permission import require_right_to_add_runs

    experiment = _experiment(tracking, source, title)
    try:
        require_right_to_add_runs(experiment)
    except InputError as error:
        if tracking.required:
            text = f"{error}. Another one is --tracking.experiment NAME, and none --tracking.enabled false"
            raise InputError(text) from error
        warn(f"{error}. The evaluation continues; its run is kept, and sync.py sends it")
    if not source.model_id or experiment == source.experiment:
        return source
    try:
        require_right_to_add_runs(source.experiment)
    except InputError as error:
        warn(f"the scores are in the run alone, not with the model {show(source.title)}: {error}")
        return replace(source, model_id="")
    return source


def _experiment(tracking: TrackingConfig, source: Source, title: str) -> str:
    """Name of the experiment of an evaluation."""
    return run_name(tracking.experiment if tracking.experiment != "auto" else source.experiment or title)


def find_source(origin: Mapping[str, str], reachable: bool) -> Source:
    """Find out what is known of a model that `load_model` has loaded from `origin`.

    `reachable`: whether the store that the evaluation is recorded in can be asked.
    """
    known = dict(origin)
    images, _ = images_of(Source(known).uri)  # of the very version: an alias may move meanwhile
    trained_on = frozenset(images.all()) if images is not None and images.complete else None
    beside = read_object(Path(known["uri"]).parent / "run.json")  # of the model folder in a run folder
    if "uid" in beside:
        known |= {key: str(beside[key]) for key in ("uid", "run_id") if beside.get(key)}
    if not reachable or not ({"version", "run_id"} & known.keys()):
        return Source(known, "", str(beside.get("experiment", "")), trained_on)
    from trainer.tracking import server
    from trainer.tracking.fetch import find_model_id

    client = server.connect()
    with store_errors():
        model_id, experiment = find_model_id(client, known)
    return Source(known, model_id, experiment or str(beside.get("experiment", "")), trained_on)


def open_evaluation(work: Path, tracking: TrackingConfig, source: Source, title: str, began_ms: int) -> Run:
    """Open a new run of kind evaluation with a folder in `work`; `title`: name of the data. Raises OSError.

    It is only recorded: who ends an evaluation sends it then, so that none that is cut short leaves a run in MLflow.
    """
    name = tracking.run_name or f"evaluation of {source.title} on {title}"
    began = store.store_id() if tracking.enabled else None
    experiment = _experiment(tracking, source, title)
    folder = new_run_folder(work, experiment, run_name(name), tracking.enabled, store=began)
    info = folder.read_run()
    tags = info["tags"] | {"kind": EVALUATION, "mlflow.source.name": "trainer/evaluate.py"}
    write_json(folder.run, info | {"time": began_ms, "tags": tags})
    folder.checkpoints.rmdir()
    return Run(folder, None, tracked=False)


def describe_source(run: Run, source: Source, data: str, digest: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """Record model and data of an evaluation; return the link for `Run.metrics`, empty without a model of MLflow.

    `data`, `digest`: name and digest of the dataset; `facts`: further tags, the number of images among them.
    """
    run.params({"model": source.title, "data": data})
    origin = source.origin
    keys = ("name", "version", "alias", "run_id", "uid")
    tags = {f"evaluation.{key}": origin[key] for key in keys if origin.get(key)}
    run.tags(
        {"kind": EVALUATION, "evaluation.model": source.uri, "data": data, "data.digest": digest} | tags | dict(facts)
    )
    run.dataset(data, digest, EVALUATION, {"samples": facts["evaluation.images"]}, source.model_id)
    if not source.model_id:
        return {}
    return {"model_id": source.model_id, "dataset_name": dataset_name(data, EVALUATION), "dataset_digest": digest[:36]}


def dataset_name(name: str, context: str) -> str:
    """Name under which MLflow keeps the dataset of a context."""
    return f"{run_name(name)} ({context})"
