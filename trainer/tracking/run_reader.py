"""Runs to be compared, read from their folders, or from MLflow where these are on another machine."""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from time import localtime, strftime
from typing import TYPE_CHECKING, Any

import yaml

from trainer import InputError
from trainer.config import MLRUNS, dotted
from trainer.model.model_folder import CONTRACT_FILE
from trainer.model.score_table import ScoreTable, read_table
from trainer.system.atomic import write_text
from trainer.system.run_folder import RunFolder, read_object
from trainer.system.text import one_line
from trainer.tracking.errors import excerpt
from trainer.tracking.journal import read_records
from trainer.tracking.store import elsewhere

if TYPE_CHECKING:  # loads MLflow, which run folders do not need
    from mlflow import MlflowClient
    from mlflow.entities import Run

TABLE = "evaluation/scores.json"
"""Place of a run's table of scores, among its artifacts and in its folder."""

EVALUATED = "evaluation.model"
"""Tag of a run of kind evaluation: the address of the model that was evaluated."""

LARGEST_BYTES = {"config.yaml": 1 << 20, TABLE: 1 << 27}
"""Largest size of an artifact that is downloaded, in bytes."""

LARGEST_IMAGE_BYTES = 1 << 24
"""Largest size of a watched image that is read, in bytes."""

MOST_IMAGES = 8
"""Watched images of a run that are read: as many as training draws by default."""

MOST_CLASS_CURVES = 12
"""Classes whose curves are read."""

CURVES = ("train/loss", "val/loss", "val/miou", "val/iou/")
"""Beginnings of the keys of metrics that are read as curves; of all others the last value."""

WATCHED = re.compile(r"(best|watch)~(.+)\+step\+(\d+)\+timestamp\+\d+\+[0-9a-f-]{36}\.png")
"""File name of a watched image."""

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
        """What is the same for a run that was given twice."""
        return self.run_id or self.model or self.name


# ---------------------------------------------------------------- run folders


def read_folder(folder: RunFolder) -> ComparedRun:
    """Read a run from its folder, which has everything but what was changed in MLflow."""
    info, status = read_object(folder.run), folder.read_status()
    tags, metrics, curves = _read_journal(folder)
    tags = dict(info.get("tags", {})) | tags
    settings, note = _read_settings(folder.config, tags)
    table, missing = _read_table(folder.path / TABLE, tags)
    facts = _facts(info.get("experiment", ""), info.get("time"), status.get("state", "unknown"), tags, metrics)
    model = str(folder.model) if (folder.model / CONTRACT_FILE).is_file() else tags.get(EVALUATED, "")
    notes = [note, missing, "" if model else "it has no model"]
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
        images=_read_images({path.name: path for path in folder.images.glob("*.png")}),
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
    facts = _facts(experiment, run.info.start_time, run.info.status.lower(), run.data.tags, run.data.metrics)
    with tempfile.TemporaryDirectory() as scratch:
        files = _Artifacts(client, run.info.run_id, Path(scratch))
        settings, note = _read_settings(files.fetch("config.yaml", LARGEST_BYTES["config.yaml"]), run.data.tags)
        table, missing = _read_table(files.fetch(TABLE, LARGEST_BYTES[TABLE]), run.data.tags)
        images = _read_images(files.images())
        notes = [note, missing, *files.errors]
    return ComparedRun(
        name,
        run_id=run.info.run_id,
        model=run.data.tags.get(EVALUATED, f"runs:/{run.info.run_id}/model"),
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
        found = {name: self.fetch(f"images/{name}", LARGEST_IMAGE_BYTES) for name in _newest(names).values()}
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


# ---------------------------------------------------------------- files


def _read_settings(file: Path | None, tags: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Settings by dotted keys, and why there are none; an evaluation needs none."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file and file.is_file() else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        content = None
    if isinstance(content, dict):
        return dotted(content), ""
    return {}, "" if EVALUATED in tags else "its config.yaml is missing or damaged"


def _read_table(file: Path | None, tags: Mapping[str, str]) -> tuple[ScoreTable | None, str]:
    """Table of scores, and why there is none."""
    if file is None or not file.is_file():
        ended = "" if tags.get("best.step") or EVALUATED in tags else ", since it has not ended"
        return None, f"it has no table of scores ({TABLE}){ended or ', as runs of older versions'}"
    try:
        return read_table(file), ""
    except InputError as error:
        return None, str(error).replace(f"{file}", TABLE)


def _newest(names: Sequence[str]) -> dict[str, str]:
    """Sample -> file name of its image with the best weights, or else of the last step; of the first samples."""
    ranked: dict[str, tuple[bool, int, str]] = {}
    for name in names:
        if found := WATCHED.fullmatch(name):
            series, sample, step = found[1], found[2].replace("~", "/"), int(found[3])
            ranked[sample] = max(ranked.get(sample, (False, -1, "")), (series == "best", step, name))
    return {sample: ranked[sample][2] for sample in sorted(ranked)[:MOST_IMAGES]}


def _read_images(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Sample -> content of the newest PNG file, of those by name."""
    found = {}
    for sample, name in _newest(list(files)).items():
        try:
            if files[name].stat().st_size <= LARGEST_IMAGE_BYTES:
                found[sample] = files[name].read_bytes()
        except OSError:
            continue
    return found


def _facts(
    experiment: str, start_ms: Any, state: str, tags: Mapping[str, str], metrics: Mapping[str, float]
) -> dict[str, str]:
    """What made a run, for people."""
    commit = tags.get("mlflow.source.git.commit", "")[:12]
    hardware = [tags.get(f"hardware.{key}", "") for key in ("name", "device")]
    processes = tags.get("hardware.processes", "1")
    seconds = metrics.get("time/training_s")
    digest = tags.get("data.digest", "")
    facts = {
        "experiment": experiment,
        "started": time_text(start_ms),
        "state": state,
        "model": tags.get("model", ""),
        "data": " ".join(filter(None, (tags.get("data", ""), digest and f"({digest[:12]})"))),
        "training images": tags.get("data.train_samples", ""),
        "commit": commit + (" with changes" if commit and tags.get("git.dirty") == "true" else ""),
        "hardware": ", ".join(filter(None, hardware)) + (f", {processes} processes" if processes != "1" else ""),
        "training time": "" if seconds is None else _duration(seconds),
    }
    return {key: one_line(value) for key, value in facts.items() if value}


def time_text(milliseconds: Any) -> str:
    """Local time of milliseconds since 1970; empty where it is none."""
    try:
        return strftime("%Y-%m-%d %H:%M", localtime(int(milliseconds) / 1000))
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
