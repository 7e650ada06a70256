"""Course of a trial, by its journal alone."""

import json
from pathlib import Path
from typing import Any

from trainer.search.progress import Course
from trainer.system.run_folder import RunFolder


def append(folder: Path, **record: Any) -> None:
    with (folder / "journal.jsonl").open("a") as file:
        file.write(json.dumps({"time": 1} | record) + "\n")


def test_scores_by_the_share_of_the_training(tmp_path: Path) -> None:
    course = Course(RunFolder(tmp_path))
    course.read()  # there is no journal yet
    assert (course.scores, course.share) == ({}, 0)
    append(tmp_path, metrics={"val/miou": 0.9}, step=0)  # untrained: not a score of these settings
    append(tmp_path, tags={"train.steps": "200"})
    append(tmp_path, metrics={"val/miou": 0.0}, step=0)
    append(tmp_path, metrics={"train/loss": 1.0}, step=10)
    append(tmp_path, metrics={"val/miou": 0.2, "val/loss": 1.0}, step=20)
    course.read()
    assert (course.scores, course.share, course.best_miou) == ({10: 0.2}, 10, None)
    assert course.has_news()
    assert not course.has_news()
    append(tmp_path, metrics={"val/miou": 0.4}, step=199)
    append(tmp_path, metrics={"best/miou": 0.5}, step=200)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"time": 1, "metrics": {"val/miou": 0.7}, "step": 20')  # not all of it is written yet
    course.read()
    assert (course.scores, course.share, course.best_miou) == ({10: 0.2, 100: 0.4}, 100, 0.5)


def test_a_plan_that_changes_on_the_way(tmp_path: Path) -> None:
    """Fewer steps than planned first: what comes later is a larger share, and never more than all."""
    append(tmp_path, tags={"train.steps": "1000"})
    append(tmp_path, metrics={"val/miou": 0.1}, step=100)
    append(tmp_path, tags={"train.steps": "200"})
    append(tmp_path, metrics={"val/miou": 0.2}, step=150)
    append(tmp_path, metrics={"val/miou": 0.3}, step=202)
    course = Course(RunFolder(tmp_path))
    course.read()
    assert course.scores == {10: 0.1, 75: 0.2, 100: 0.3}
