"""Content of a comparison: one object of plain values, which is written as JSON and drawn as a sheet."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from trainer import redact_all
from trainer.model.comparison import Interval, class_intervals, score_interval
from trainer.model.ranking import Ranking
from trainer.model.score_table import OF_SEEDS, OUT_OF_FOLD
from trainer.system.provenance import program_version
from trainer.system.text import one_line
from trainer.tracking.names import image_key
from trainer.tracking.run_reader import ComparedRun, Curve

SCHEMA = 1
"""Version of the JSON file's form."""

NOT_SHOWN = ("resume", "tracking.", "registry.")
"""Beginnings of settings that decide nothing about a model."""

MOST_POINTS = 240
"""Points of a curve: of a longer one, the means of as many parts."""

MOST_DISAGREEMENTS = 8
"""Images that are listed since the models differ most on them."""

ABSENT = "-"
"""Value of a setting that a run does not have."""

AUTO = "auto"
"""Value of a setting that the program chooses."""


def describe_comparison(
    runs: Sequence[ComparedRun],
    ranking: Ranking | None,
    refusal: str,
    notes: Sequence[str],
    folder: str = "",
) -> dict[str, Any]:
    """Describe runs side by side.

    `ranking`: None where they cannot be ranked, and `refusal` says why then; `notes`: what a reader must know besides;
    `folder`: where the images lie that all were scored on, empty for the validation images of the runs themselves.
    """
    pairs = ranking.pairs if ranking else []
    content = {
        "schema_version": SCHEMA,
        "program": f"segtrainer {program_version()}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "verdict": [pair.sentence() for pair in pairs] or [_single(runs, ranking, refusal)],
        "notes": [*notes, *(ranking.notes if ranking else ()), *_run_notes(runs, anew=bool(folder))],
        "ranked_on": _ranked_on(ranking, folder),
        "runs": [_describe_run(run, ranking) for run in runs],
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "difference": _plain(pair.comparison.difference),
                "classes": {name: _plain(gain) for name, gain in pair.comparison.classes.items()},
            }
            for pair in pairs
        ],
        "settings": differing_settings(runs),
        "facts": _facts(runs),
        "curves": _curves(runs),
        "disagreements": _disagreements(ranking) if ranking else [],
    }
    return {key: redact_all(value) for key, value in content.items()}


def _single(runs: Sequence[ComparedRun], ranking: Ranking | None, refusal: str) -> str:
    """Verdict where there is no pair."""
    if refusal:
        return refusal
    if ranking is not None:
        ((name, score),) = ranking.scores.items()
        return f"{name}: {score} mIoU on {len(ranking.images)} images; nothing to compare it with"
    what = "it has no" if len(runs) == 1 else "none of them has a"
    return f"not ranked: {what} table of scores on single images"


def _run_notes(runs: Sequence[ComparedRun], anew: bool) -> list[str]:
    """Notes of the runs. Where their models were not scored anew, also on scores that are not of one model."""
    notes = [f"{run.name}: {one_line(note)}" for run in runs for note in run.notes]
    for run in runs if not anew else ():
        counted_by = run.table.model if run.table else {}
        if OUT_OF_FOLD in counted_by:
            notes.append(
                f"{run.name}: each image is scored by the model of {counted_by[OUT_OF_FOLD]} that did not see it"
            )
        elif OF_SEEDS in counted_by:
            notes.append(f"{run.name}: each image is scored by the mean of {counted_by[OF_SEEDS]}")
    return notes


def _ranked_on(ranking: Ranking | None, folder: str) -> dict[str, Any] | None:
    if ranking is None:
        return None
    digest = next(iter(ranking.tables.values())).digest
    names = list(ranking.class_names[1:])
    return {"images": len(ranking.images), "digest": digest, "folder": folder, "classes": names}


def _describe_run(run: ComparedRun, ranking: Ranking | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": run.name,
        "run_id": run.run_id,
        "model": run.model,
        "metrics": {key: _number(value) for key, value in sorted(run.metrics.items()) if not key.startswith("system/")},
    }
    if ranking is not None and run.name in ranking.tables:
        score, classes, images = ranking.scores[run.name], ranking.classes[run.name], len(ranking.images)
        described["rank"] = ranking.best_first.index(run.name) + 1
    elif run.table is not None and run.table.images:
        counts, images = run.table.in_order().counts(), len(run.table.images)
        score, classes = score_interval(counts), class_intervals(counts, run.table.class_names)
    else:
        return described
    return described | {
        "images": images,
        "miou": _plain(score),
        "iou": {name: _plain(value) for name, value in classes.items()},
    }


def differing_settings(runs: Sequence[ComparedRun]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs that have any: key -> text of each run's value.

    The run of folds or seeds has `auto` where their trainings have what was chosen, so that it differs from no other.
    """
    known = [run.settings for run in runs if run.settings]
    keys = dict.fromkeys(key for settings in known for key in settings)

    def differs(key: str) -> bool:
        values = {_text(settings, key) for settings in known if not (_of_group(settings) and settings.get(key) == AUTO)}
        return len(values) > 1

    return {
        key: [_text(run.settings, key) for run in runs]
        for key in keys
        if not key.startswith(NOT_SHOWN) and differs(key)
    }


def _of_group(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("train.folds")) or settings.get("train.seeds", 1) > 1


def _text(settings: Mapping[str, Any], key: str) -> str:
    return one_line(settings[key]) if key in settings else ABSENT


def _facts(runs: Sequence[ComparedRun]) -> dict[str, list[str]]:
    keys = dict.fromkeys(key for run in runs for key in run.facts)
    return {key: [run.facts.get(key, ABSENT) for run in runs] for key in keys}


def _curves(runs: Sequence[ComparedRun]) -> dict[str, dict[str, Curve]]:
    keys = sorted({key for run in runs for key in run.curves})
    return {key: {run.name: thin(run.curves[key]) for run in runs if key in run.curves} for key in keys}


def thin(curve: Curve) -> Curve:
    """Curve of at most MOST_POINTS points: the means of parts of the same length. What is not finite is left out."""
    points = [(step, value) for step, value in curve if math.isfinite(value)]
    if len(points) <= MOST_POINTS:
        return points
    size = math.ceil(len(points) / MOST_POINTS)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _disagreements(ranking: Ranking) -> list[dict[str, Any]]:
    if len(ranking.tables) < 2:
        return []
    places, iou = ranking.disagreements(MOST_DISAGREEMENTS), ranking.image_iou
    return [
        {
            "image": (image := ranking.images[place]).name,
            "hash": image.image,
            "width": image.width,
            "height": image.height,
            "iou": {name: round(float(iou[row, place]), 4) for row, name in enumerate(ranking.tables)},
        }
        for place in places
    ]


def watched_images(runs: Sequence[ComparedRun]) -> dict[tuple[str, str], dict[str, bytes]]:
    """Watched images of all runs: (hash of the image where it is known, or else empty; name) -> run -> PNG file.

    An image of the same contents is the same one whatever its name; without a table, one of the same name is.
    """
    found: dict[tuple[str, str], dict[str, bytes]] = {}
    for run in runs:
        known = {image_key(one.name): (one.image, one.name) for one in run.table.images} if run.table else {}
        for key, png in run.images.items():
            digest, name = known.get(key, ("", key))
            place = next((one for one in found if one[0] == digest and (digest or one[1] == name)), (digest, name))
            found.setdefault(place, {})[run.name] = png
    return found


def _plain(value: Interval) -> dict[str, float | None]:
    return {"value": _number(value.value), "low": _number(value.low), "high": _number(value.high)}


def _number(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return round(float(value), 6) if math.isfinite(value) else None
