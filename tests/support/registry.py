"""Versions in a real registry, made without a training, and clients whose calls a test directs."""

import random
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from trainer.model.score_table import ScoredImage, ScoreTable
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder
from trainer.tracking import moves

DIGEST = "0123456789abcdef"


def add_version(client: MlflowClient, name: str, model: Path, miou: float | None, **tags: str) -> str:
    """Register the model folder `model`, with the tags that training gives; return the version."""
    with suppress(MlflowException):  # it is there already
        client.create_registered_model(name)
    given = {"val/miou": f"{miou}", "dataset_digest": DIGEST} | tags
    return str(client.create_model_version(name, model.as_uri(), tags=given).version)


def registered_run(folder: Path, name: str, version: str, model: Path | None = None) -> RunFolder:
    """Run folder whose model became a version, about which nothing is decided yet."""
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    write_json(run.version, {"name": name, "version": version, "promoted": None})
    if model is not None:
        shutil.copytree(model, run.model)
    return run


def scored(
    *images: tuple[float, ...],
    names: tuple[str, ...] = ("_background_", "cat"),
    first: int = 0,
    pixels: int = 10_000,
    mask: str = "0" * 16,
) -> ScoreTable:
    """Table of a model whose IoU of each foreground class is given for each image, in steps of 1 / `pixels`.

    Images are known by consecutive numbers from `first` on. Without `pixels` no class is in the masks.
    """
    rows = []
    for number, iou in enumerate(images, first):
        foreground = [(round(pixels * one), round(pixels * one), pixels) for one in iou]
        counts = ((20_000, 20_000, 20_000), *foreground)
        rows.append(ScoredImage(f"image {number}", image_hash(number), mask, 200, 200, counts))
    return ScoreTable(names, tuple(rows), {})


def image_hash(number: int) -> str:
    """Hash by which the image of that number is known in a table of `scored`."""
    return f"{number:016x}"


class Killed(BaseException):
    """End of a process in the middle of its work."""


class Directed:
    """A client each of whose calls first asks `before`, with the number of the call; that may wait, or raise."""

    def __init__(self, client: MlflowClient, before: Callable[[int], None]) -> None:
        self.client, self.before, self.calls = client, before, 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            self.before(self.calls)
            return method(*arguments, **options)

        return call


def interleave(works: Mapping[str, Callable[[Callable[[int], None]], Any]], seed: int) -> dict[str, Any]:
    """Run several pieces of work, each in a thread, whose calls take turns in an order that follows from `seed`.

    Each gets a function to call before each of its steps. Who waits for the lock of the alias takes turns too. Returns
    the results by name.
    """
    draw, turn = random.Random(seed), threading.Condition()
    own = threading.local()
    waiting: set[str] = set()
    running, results = set(works), {}
    chosen: list[str] = []

    def choose() -> None:
        """With the lock held: where all that still run wait for their turn, give it to one of them."""
        if not chosen and running and waiting == running:
            chosen.append(draw.choice(sorted(running)))
            turn.notify_all()

    def run(name: str, work: Callable[[Callable[[int], None]], Any]) -> None:
        def before(_call: int) -> None:
            with turn:
                waiting.add(name)
                choose()
                assert turn.wait_for(lambda: chosen == [name], 60), "no turn within 60 s"
                chosen.clear()
                waiting.remove(name)

        own.before = before
        try:
            results[name] = work(before)
        finally:
            with turn:
                running.remove(name)
                choose()

    threads = [threading.Thread(target=run, args=one) for one in works.items()]
    with mock.patch.object(moves, "pause", side_effect=lambda _seconds: own.before(0)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results
