"""Search for the runs that a person means: by id, name, address of a model, folder or experiment."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import InputError, redact
from trainer.config import MLRUNS
from trainer.model.model_folder import CONTRACT_FILE
from trainer.system.installation import require
from trainer.system.run_folder import EVALUATION, FOLDS, SWEEP, TRAINING, RunFolder, read_object, run_folders
from trainer.system.text import count_of, one_line, show
from trainer.tracking.address import MODEL_ID, RUN_ID, parse_address
from trainer.tracking.errors import deleted_experiment, store_errors
from trainer.tracking.run_parts import time_text
from trainer.tracking.run_reader import ComparedRun, read_folder, read_run

if TYPE_CHECKING:  # loads MLflow, which run folders do not need
    from mlflow import MlflowClient
    from mlflow.entities import Run

KINDS = ("", TRAINING, EVALUATION, FOLDS)
"""Values of the tag `kind` of runs that have a model of their own, or a table of one."""

MOST_SEARCHED = 10_000
"""Runs that are looked through."""


def connect_store() -> "MlflowClient":
    """Connect to the store in use. Raises InputError where it does not answer, or MLflow is not installed."""
    require("registry", "comparing runs of MLflow")
    from trainer.tracking.server import connect

    return connect()


class Finder:
    """Finds runs by what a person calls them. Asks MLflow only for what is not a folder."""

    def __init__(self, connect: "Callable[[], MlflowClient]" = connect_store) -> None:
        """`connect`: raises InputError where the store does not answer."""
        self._connect = connect
        self.warnings: list[str] = []

    @cached_property
    def client(self) -> "MlflowClient":
        """Client of the store in use. Raises InputError where that does not answer."""
        return self._connect()

    def find(self, text: str) -> ComparedRun:
        """Find and read the run or the model that `text` stands for. Raises InputError where there is none."""
        if found := _read_path(text):
            return found
        is_address = re.match(r"(models|runs|file|https?):", text) or re.fullmatch(f"{MODEL_ID}|{RUN_ID}", text)
        try:
            client = self.client
        except InputError as error:
            return self._find_offline(text, error)
        with store_errors():
            return self._find_address(client, text) if is_address else self._find_name(client, text)

    def experiment(self, name: str, top: int) -> list[ComparedRun]:
        """Read the `top` runs of an experiment with the best scores, the best first. Raises InputError without any."""
        client = self.client
        with store_errors():
            found = client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage == "deleted":
                raise deleted_experiment("--experiment", name, found.experiment_id)
            if found is None:
                known = [one.name for one in client.search_experiments()]
                near = get_close_matches(name, known, n=3, cutoff=0.0)
                raise InputError(
                    f"--experiment {show(name)}: no such experiment; there are {_listed(near, len(known))}"
                )
            runs = _with_models(_all_runs(client, [found.experiment_id]))
            if not runs:
                raise InputError(f"--experiment {show(name)}: holds no run that was trained or evaluated")
            same = _on_the_same_images(runs)
            if len(same) < len(runs):
                left = f"{count_of(len(runs) - len(same), 'run')} of {show(name)} left out, without scores on the same"
                self.warnings.append(f"{left} images as those of the newest")
            runs = same
            runs.sort(key=lambda run: (-_score(run), run.info.start_time))
            if len(runs) > top:
                chosen = f"the {top} best of {len(runs)} runs of {show(name)}"
                self.warnings.append(f"{chosen}: chosen by their scores on these images, which flatters them")
            return [read_run(client, run) for run in runs[:top]]

    def _find_address(self, client: "MlflowClient", text: str) -> ComparedRun:
        from trainer.tracking.fetch import resolve

        address = parse_address(text)
        if address.run_id:
            return read_run(client, _get_run(client, address.run_id))
        uri, origin = resolve(client, address)
        name = f"{origin['name']} version {origin['version']}" if "version" in origin else text
        name += f" ({origin['alias']})" if origin.get("alias") else ""
        if not origin.get("run_id"):
            return ComparedRun(name, model=uri, notes=("a model without a run",))
        try:
            run = read_run(client, _get_run(client, origin["run_id"]))
        except InputError as error:
            return ComparedRun(
                name, model=uri, notes=(f"its run cannot be read: {error}", "--data.root DIR scores it anew")
            )
        facts = {"run": run.name} | dict(run.facts)
        return replace(run, name=name, model=uri if uri.startswith("models:") else text, facts=facts)

    def _find_name(self, client: "MlflowClient", name: str) -> ComparedRun:
        experiments = [one.experiment_id for one in client.search_experiments()]
        # MLflow's filter cannot quote both kinds of quotes.
        quoted = f"'{name}'" if "'" not in name else f'"{name}"' if '"' not in name else None
        where = f"attributes.run_name = {quoted}" if quoted else ""
        found = [run for run in _all_runs(client, experiments, where) if run.info.run_name == name]
        if len(found) == 1:
            return read_run(client, found[0])
        if not found:
            newest = _with_models(_all_runs(client, experiments, most=200))
            known = [run.info.run_name for run in newest]
            near = get_close_matches(name, known, n=3) or known[:3]
            raise InputError(
                f"{show(name)}: no run of this name, no run id and no run folder; there are {_listed(near, len(known))}"
            )
        titles = {one.experiment_id: one.name for one in client.search_experiments()}
        lines = [
            f"  {run.info.run_id}  {one_line(titles.get(run.info.experiment_id, ''))}  {time_text(run.info.start_time)}"
            for run in found
        ]
        raise InputError("\n".join([f"{show(name)}: {len(found)} runs have this name; give the id of one", *lines]))

    def _find_offline(self, text: str, error: InputError) -> ComparedRun:
        """Find a run by id or name among the run folders, where the store does not answer."""
        found = [folder for folder in run_folders(MLRUNS / "work") if text in _names_in_folder(folder)]
        if not found:
            raise error
        if len(found) > 1:
            listed = "\n".join(f"  {folder}" for folder in found)
            raise InputError(f"{show(text)}: {len(found)} runs have this name; give the folder of one\n{listed}")
        self.warnings.append(f"{error}. {show(text)} is read from {found[0]}")
        return read_folder(found[0])


def unique_runs(runs: Sequence[ComparedRun]) -> tuple[list[ComparedRun], list[str]]:
    """Leave out what was given twice, and give all different names; return also sentences about the former."""
    unique: dict[str, ComparedRun] = {}
    notes = []
    for run in runs:
        if run.identity in unique:
            notes.append(f"{show(run.name)} is {show(unique[run.identity].name)} again; shown once")
        else:
            unique[run.identity] = run
    names = Counter(redact(run.name) for run in unique.values())
    named: dict[str, ComparedRun] = {}
    for place, run in enumerate(unique.values(), start=1):
        name = redact(run.name)
        name += f" ({run.run_id[:8] or place})" if names[name] > 1 else ""
        while name in named:  # of a run that is really called so
            name += f" ({place})"
        named[name] = replace(run, name=name)
    return list(named.values()), notes


def _read_path(text: str) -> ComparedRun | None:
    """Run of a run folder, or of the model folder in it; a model folder alone; None where this path is neither."""
    path = Path(text)
    try:
        is_model = (path / CONTRACT_FILE).is_file()
        places = [path, path.resolve().parent] if is_model else [path]
        folder = next((RunFolder(place) for place in places if (place / "run.json").is_file()), None)
    except (OSError, ValueError, RuntimeError):  # too long for a name, or a link in a circle
        return None
    if folder is not None:
        return read_folder(folder)
    note = "a model folder without a run"
    return ComparedRun(one_line(path.resolve().name), model=text, notes=(note,)) if is_model else None


def _names_in_folder(folder: RunFolder) -> set[str]:
    info = read_object(folder.run)
    return {folder.path.name, info.get("run_id", ""), info.get("run_name", "")} - {""}


def _get_run(client: "MlflowClient", run_id: str) -> "Run":
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise InputError(f"{run_id}: no such run in this store") from error
    if run.info.lifecycle_stage == "deleted":
        raise InputError(f"run {run_id} was deleted in MLflow; restore it there to compare it")
    return run


def _all_runs(
    client: "MlflowClient", experiments: list[str], where: str = "", most: int = MOST_SEARCHED
) -> "list[Run]":
    """Runs of these experiments, the newest first."""
    found: list[Run] = []
    token = None
    while len(found) < most:
        page = client.search_runs(
            experiments, where, max_results=min(most, 1000), order_by=["attributes.start_time DESC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            break
    return found[:most]


def _with_models(runs: "Sequence[Run]") -> "list[Run]":
    """Runs that have a model of their own, or a table of one. The folds of a group are not compared, the group is."""
    kinds = {run.info.run_id: run.data.tags.get("kind", "") for run in runs}
    return [
        run
        for run in runs
        if kinds[run.info.run_id] in KINDS and kinds.get(run.data.tags.get("mlflow.parentRunId", ""), SWEEP) == SWEEP
    ]


def _on_the_same_images(runs: "Sequence[Run]") -> "list[Run]":
    """Runs whose table of scores is of the same images as that of the newest training that has one."""
    digests = {run.info.run_id: run.data.tags.get("evaluation.digest", "") for run in runs}
    trained = [run for run in runs if run.data.tags.get("kind", "") != EVALUATION and digests[run.info.run_id]]
    newest = next(iter([*trained, *runs]))
    return [run for run in runs if digests[run.info.run_id] == digests[newest.info.run_id]]


def _score(run: "Run") -> float:
    """Score by which the runs of an experiment are chosen."""
    metrics = run.data.metrics
    return float(metrics.get("best/miou", metrics.get("val/miou", -1.0)))


def _listed(names: Sequence[str], of: int) -> str:
    shown = ", ".join(show(name, 60) for name in names) or "none"
    return shown + (f" and {of - len(names)} more" if of > len(names) and names else "")
