"""Parts of what is known of a run: its settings, scores and images, read from files; and what made it, in words."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import localtime, strftime
from typing import Any

import yaml

from trainer import InputError
from trainer.config import dotted
from trainer.model.score_table import ScoreTable, read_table
from trainer.system.run_folder import FAMILY_TAGS, LABELLING, SWEEP
from trainer.system.text import one_line
from trainer.tracking.ancestor import images_of

TABLE = "evaluation/scores.json"
"""Place of a run's table of scores, among its artifacts and in its folder."""

EVALUATED = "evaluation.model"
"""Tag of a run of kind evaluation: the address of the model that was evaluated."""

TRAINED = "evaluation.trained_images"
"""Tag of such a run: how many of its images have trained the model."""

PARENTS = (SWEEP, LABELLING)
"""Kinds of runs that have trainings below them, and no scores themselves."""

LARGEST_IMAGE_BYTES = 1 << 24
"""Largest size of a watched image that is read, in bytes."""

MOST_IMAGES = 8
"""Watched images of a run that are read: as many as training draws by default."""

WATCHED = re.compile(r"(best|watch)~(.+)\+step\+(\d+)\+timestamp\+\d+\+[0-9a-f-]{36}\.png")
"""File name of a watched image."""


def read_settings(file: Path | None, tags: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Settings by dotted keys, and why there are none; an evaluation needs none."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file and file.is_file() else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        content = None
    if isinstance(content, dict):
        return dotted(content), ""
    return {}, "" if EVALUATED in tags else "its config.yaml is missing or damaged"


def read_scores(file: Path | None, tags: Mapping[str, str]) -> tuple[ScoreTable | None, str]:
    """Table of scores, and why there is none."""
    if file is None or not file.is_file():
        if tags.get(FAMILY_TAGS["kind"]) in PARENTS:
            return None, f"a run of kind {tags[FAMILY_TAGS['kind']]} has no scores of its own; name its children"
        ended = "" if tags.get("best.step") or EVALUATED in tags else ", since it has not ended"
        return None, f"it has no table of scores ({TABLE}){ended or ', as runs of older versions'}"
    try:
        return read_table(file), ""
    except InputError as error:
        return None, str(error).replace(f"{file}", TABLE)


def advantage(table: ScoreTable | None, tags: Mapping[str, str], settings: Mapping[str, Any], model: str) -> str:
    """Sentence where images of the table have trained the model, itself or the one that it started from, or may have.

    `model`: its address. Empty where none has.
    """
    if table is None:
        return ""
    count, init = tags.get(TRAINED, "0"), settings.get("model.init")
    if count != "0":
        return f"{count} of its {len(table.images)} images have trained the model: it has an advantage"
    if not init or not model:
        return ""
    try:
        images, _ = images_of(model)
    except InputError:
        images = None
    if images is None or not images.complete:
        return f"whether some of its images have trained {init}, from which it started, is not known"
    learnt = sum(one.image in images.inherited for one in table.images)
    started = f"have trained {init}, from which it started: it has an advantage"
    return f"{learnt} of its {len(table.images)} images {started}" if learnt else ""


def newest_images(names: Sequence[str]) -> dict[str, str]:
    """Sample -> file name of its image with the best weights, or else of the last step; of the first samples."""
    ranked: dict[str, tuple[bool, int, str]] = {}
    for name in names:
        if found := WATCHED.fullmatch(name):
            series, sample, step = found[1], found[2].replace("~", "/"), int(found[3])
            ranked[sample] = max(ranked.get(sample, (False, -1, "")), (series == "best", step, name))
    return {sample: ranked[sample][2] for sample in sorted(ranked)[:MOST_IMAGES]}


def read_images(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Sample -> content of the newest PNG file, of those by name."""
    found = {}
    for sample, name in newest_images(list(files)).items():
        try:
            if files[name].stat().st_size <= LARGEST_IMAGE_BYTES:
                found[sample] = files[name].read_bytes()
        except OSError:
            continue
    return found


def describe_facts(
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
