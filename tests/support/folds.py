"""What a group of folds and seeds leaves: its parent's folder, its trainings, its scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.support import runs
from tests.support.program import Program
from trainer.model.score_table import read_table
from trainer.system.run_folder import RunFolder

FOLDED = [
    *("--model.depth", "2", "--model.encoder", "none", "--train.threads", "1", "--train.mixed_precision", "no"),
    *("--optim.lr", "0.01", "--train.checkpoint_minutes", "0", "--tracking.watch", "1", "--train.ema", "0.5"),
]
"""Settings of trainings of a few steps that find something."""


def parent(program: Program) -> RunFolder:
    """Run folder of the one group."""
    (found,) = [one for one in map(RunFolder, program.run_folders()) if one.kind == "folds"]
    return found


def trainings(program: Program) -> dict[tuple[int, int, str], RunFolder]:
    """Run folders of the trainings, by seed, fold and train.final. Fails where there are two of one."""
    found: dict[tuple[int, int, str], RunFolder] = {}
    for folder in map(RunFolder, program.run_folders()):
        if folder.kind == "training":
            settings = yaml.safe_load(folder.config.read_text())
            key = settings["train"]["seed"], settings["data"]["fold"], settings["train"]["final"]
            assert key not in found
            assert folder.parent == parent(program).path.name
            found[key] = folder
    return found


def result(program: Program) -> dict[str, Any]:
    """All that must be the same however often a group was interrupted: weights, curves, scores, the model."""
    group, found = parent(program), trainings(program)
    assert runs.status(group.path)["state"] == "finished"
    content: dict[str, Any] = {f"{key}": runs.result(folder.path) for key, folder in found.items()}
    content["curves"] = runs.curves(group.path)
    content["scores"] = json.loads(group.scores.read_text())["images"]
    content["weights"] = (group.model / "weights.safetensors").read_bytes()
    return content


def pooled_miou(program: Program, *seeds: int) -> tuple[float, list[str]]:
    """mIoU over the pixels of all folds in plain numpy, and the names of the images.

    Of several `seeds`, by what their models have counted on each image in the mean, in whole pixels; without any, of 0.
    """
    found: dict[str, list[Any]] = {}
    for (seed, _, final), folder in trainings(program).items():
        if seed in (seeds or (0,)) and final == "auto":
            table = read_table(folder.scores)
            held_out = json.loads(folder.split.read_text())["val"]
            assert sorted(image.name for image in table.images) == sorted(held_out)
            for image in table.images:
                found.setdefault(image.name, []).append(image.counts)
    correct, predicted, true = sum(np.mean(counts, axis=0).round() for counts in found.values())[1:].T
    return float((correct / (predicted + true - correct)).mean()), sorted(found)


def finished_children(program: Program) -> int:
    """Number of trainings that are finished."""
    folders = map(RunFolder, program.run_folders())
    return sum(one.kind == "training" and one.read_status().get("state") == "finished" for one in folders)


def running_child(program: Program, number: int, step: int) -> Path | None:
    """Run folder of the training `number` in order, once it has a checkpoint of `step` or a later one."""
    folders = [one for one in map(RunFolder, program.run_folders()) if one.kind == "training"]
    if len(folders) <= number or not any(one >= step for one in runs.checkpoint_steps(folders[number].path)):
        return None
    return folders[number].path
