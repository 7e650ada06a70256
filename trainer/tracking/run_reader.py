"""Runs to be compared, read from their folders, or from MLflow where these are on another machine."""

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from trainer.config import MLRUNS
from trainer.model.model_folder import CONTRACT_FILE
from trainer.model.score_table import ScoreTable
from trainer.system.atomic import write_text
from trainer.system.run_folder import RunFolder, read_object
from trainer.system.text import one_line
from trainer.tracking.errors import excerpt
from trainer.tracking.journal import read_records
from trainer.tracking.run_parts import (
    EVALUATED,
    LARGEST_IMAGE_BYTES,
    TABLE,
    advantage,
    describe_facts,
    newest_images,
    read_images,
    read_scores,
    read_settings,
)
from trainer.tracking.store import elsewhere

if TYPE_CHECKING:  # loads MLflow, which run folders do not need
    from mlflow import MlflowClient
    from mlflow.entities import Run

LARGEST_BYTES = {"config.yaml": 1 << 20, TABLE: 1 << 27}
"""Largest size of an artifact that is downloaded, in bytes."""

MOST_CLASS_CURVES = 12
"""Classes whose curves are read."""

CURVES = ("train/loss", "val/loss", "val/miou", "val/iou/")
"""Beginnings of the keys of metrics that are read as curves; of all others the last value."""

UID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")

Curve = list[tuple[int, float]]
"""Points of a metric by step."""


@dataclass(frozen=True)
class ComparedRun:
    """One run, or one model without a run, and what is known of it."""

    name: str
    """Name for people: of the run, or of the model that was asked for."""

    run_id: str = ""
    """Run in MLflow; empty where it has none."""

    model: str = ""
    """Address of its model; empty where it has none."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """By dotted keys; empty where config.yaml is missing."""

    facts: Mapping[str, str] = field(default_factory=dict)
    """What made it: experiment, time, data, commit, hardware."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Last value of each metric."""

    curves: Mapping[str, Curve] = field(default_factory=dict)
    table: ScoreTable | None = None
    images: Mapping[str, bytes] = field(default_factory=dict)
    """Sample -> PNG file of its panels with the best weights, or else at the last step."""

    notes: tuple[str, ...] = ()
    """What is missing, and why."""

    @property
    def identity(self) -> str:
        """Text that is the same for a run that was given twice."""
        return self.run_id or self.model or self.name


# ---------------------------------------------------------------- run folders


def read_folder(folder: RunFolder) -> ComparedRun:
    """Read a run from its folder, which has everything but what was changed in MLflow."""
    info, status = read_object(folder.run), folder.read_status()
    tags, metrics, curves = _read_journal(folder)
    tags = dict(info.get("tags", {})) | tags
    settings, note = read_settings(folder.config, tags)
    table, missing = read_scores(folder.path / TABLE, tags)
    facts = describe_facts(info.get("experiment", ""), info.get("time"), status.get("state", "unknown"), tags, metrics)
    model = str(folder.model) if (folder.model / CONTRACT_FILE).is_file() else tags.get(EVALUATED, "")
    notes = [note, missing, "" if model else "it has no model", advantage(table, tags, settings, model)]
    recorded = info.get("run_id", "") if info.get("tracked") and not elsewhere(folder) else ""
    return ComparedRun(
        one_line(info.get("run_name") or folder.path.name),
        run_id=recorded,
        model=model,
        settings=settings,
        facts=facts,
        metrics=metrics,
        curves=curves,
        table=table,
        images=read_images({path.name: path for path in folder.images.glob("*.png")}),
        notes=tuple(filter(None, notes)),
    )


def _read_journal(folder: RunFolder) -> tuple[dict[str, str], dict[str, float], dict[str, Curve]]:
    """Tags, the last value of each metric, and curves."""
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}
    curves: dict[str, Curve] = {}
    try:
        for _, record in read_records(folder.journal, 0):
            tags |= record.get("tags", {})
            for key, value in record.get("metrics", {}).items():
                metrics[key] = value
                if key.startswith(CURVES):
                    curves.setdefault(key, []).append((record["step"], value))
    except OSError:
        return tags, metrics, curves
    kept = set(_curve_keys(curves))
    return tags, metrics, {key: sorted(curve) for key, curve in curves.items() if key in kept}


def _curve_keys(keys: Iterable[str]) -> list[str]:
    """Keys of the curves that are read, with those of the first classes."""
    wanted = sorted(key for key in keys if key.startswith(CURVES))
    classes = [key for key in wanted if key.startswith("val/iou/")]
    return [key for key in wanted if key not in classes] + classes[:MOST_CLASS_CURVES]


# ---------------------------------------------------------------- MLflow


def read_run(client: "MlflowClient", run: "Run") -> ComparedRun:
    """Read a run from its folder, where that is on this machine, or else from MLflow."""
    name = one_line(run.info.run_name or run.info.run_id)
    folder = _local_folder(run)
    if folder is not None:
        return replace(read_folder(folder), name=name, run_id=run.info.run_id)
    curves = {key: _history(client, run.info.run_id, key) for key in _curve_keys(run.data.metrics)}
    experiment = client.get_experiment(run.info.experiment_id).name
    facts = describe_facts(experiment, run.info.start_time, run.info.status.lower(), run.data.tags, run.data.metrics)
    with tempfile.TemporaryDirectory() as scratch:
        files = _Artifacts(client, run.info.run_id, Path(scratch))
        settings, note = read_settings(files.fetch("config.yaml", LARGEST_BYTES["config.yaml"]), run.data.tags)
        table, missing = read_scores(files.fetch(TABLE, LARGEST_BYTES[TABLE]), run.data.tags)
        images = read_images(files.images())
        notes = [note, missing, *files.errors]
    model = run.data.tags.get(EVALUATED, f"runs:/{run.info.run_id}/model")
    notes.append(advantage(table, run.data.tags, settings, model))
    return ComparedRun(
        name,
        run_id=run.info.run_id,
        model=model,
        settings=settings,
        facts=facts,
        metrics=run.data.metrics,
        curves=curves,
        table=table,
        images=images,
        notes=tuple(filter(None, notes)),
    )


class _Artifacts:
    """Files of a run in MLflow, downloaded into a folder. What cannot be had is named in `errors`."""

    def __init__(self, client: "MlflowClient", run_id: str, folder: Path) -> None:
        self.client, self.run_id, self.folder = client, run_id, folder
        self.errors: list[str] = []

    def fetch(self, name: str, most_bytes: int) -> Path | None:
        """Download a file; None where there is none, or it is too large."""
        parent = str(PurePosixPath(name).parent)
        try:
            listed = {
                one.path: one for one in self.client.list_artifacts(self.run_id, None if parent == "." else parent)
            }
            entry = listed.get(name)
            if entry is None or entry.is_dir:
                return None
            if (entry.file_size or 0) > most_bytes:
                self.errors.append(f"{name} has {entry.file_size:,} bytes, more than {most_bytes:,}; it is not read")
                return None
            return Path(self.client.download_artifacts(self.run_id, name, str(self.folder)))
        except Exception as error:  # of MLflow, the network, or the store that keeps the files
            self.errors.append(f"{name} cannot be downloaded ({excerpt(f'{error}')})")
            return None

    def images(self) -> dict[str, Path]:
        """Names and files of the watched images that are shown."""
        try:
            names = [PurePosixPath(one.path).name for one in self.client.list_artifacts(self.run_id, "images")]
        except Exception as error:
            self.errors.append(f"its images cannot be listed ({excerpt(f'{error}')})")
            return {}
        found = {name: self.fetch(f"images/{name}", LARGEST_IMAGE_BYTES) for name in newest_images(names).values()}
        return {name: path for name, path in found.items() if path is not None}


def _history(client: "MlflowClient", run_id: str, key: str) -> Curve:
    return sorted({point.step: point.value for point in client.get_metric_history(run_id, key)}.items())


def _local_folder(run: "Run") -> RunFolder | None:
    """Folder of a run on this machine; None where there is none, or it is another run's."""
    uid = run.data.tags.get("trainer.uid", "")
    folder = RunFolder(MLRUNS / "work" / uid)
    # The tag is a text of the server's, and no path.
    known = UID.fullmatch(uid) and read_object(folder.run).get("run_id") == run.info.run_id
    return folder if known else None


def log_sheet(client: "MlflowClient", run_id: str, html: str) -> None:
    """Add the sheet to a run, in place of an earlier one. Raises the errors of MLflow and the network."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "compare.html"
        write_text(file, html)
        client.log_artifact(run_id, str(file), "comparison")
