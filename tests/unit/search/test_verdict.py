"""The best trial of a sweep against the first, by the tables of what their models counted."""

from pathlib import Path

import pytest

from trainer.model.comparison import compare_scores
from trainer.model.score_table import ScoredImage, ScoreTable
from trainer.search.sweep_folder import SweepFolder
from trainer.search.verdict import compare_with_first
from trainer.system.run_folder import SWEEP, new_run_folder

NAMES = ("_background_", "cat")


def table(images: range, share: float) -> ScoreTable:
    """Counts of a model that finds about this share of each cat."""
    scored = []
    for number in images:
        found = round(1000 * share) + 17 * (number % 5)
        counts = ((9000, 9000 + 1000 - found, 9000), (found, found, 1000))
        scored.append(ScoredImage(f"x{number}", f"{number:016x}", f"{number:016x}", 100, 100, counts))
    return ScoreTable(NAMES, tuple(scored), {})


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return SweepFolder(new_run_folder(tmp_path, "cats", None, tracked=False, kind=SWEEP))


def train(sweep: SweepFolder, name: str, scores: ScoreTable | None) -> None:
    run = new_run_folder(sweep.path.parent, "cats", name, tracked=False, parent=sweep.path.name)
    if scores:
        run.evaluation.mkdir()
        scores.write(run.scores)


def test_a_difference_is_said_with_its_interval_and_its_luck(sweep: SweepFolder) -> None:
    first, best = table(range(12), 0.5), table(range(12), 0.7)
    train(sweep, "trial-0-lr1", first)
    train(sweep, "trial-1-lr2", None)  # it failed
    train(sweep, "trial-2-lr3", best)
    gain = compare_scores(first.counts(), best.counts(), NAMES).difference
    said = f"trial 2 is better than trial 0 (the settings it began with) by {gain} mIoU on 12 images"
    assert compare_with_first(sweep, 2, 2, 1) == said
    assert compare_with_first(sweep, 2, 3, 1) == f"{said}; chosen as the best of 3 on these images, which flatters it"
    assert compare_with_first(sweep, 0, 3, 1) == compare_with_first(sweep, 1, 3, 1) == ""


def test_folds_count_together(sweep: SweepFolder) -> None:
    for trial in (0, 1):
        for fold in (1, 0):
            train(sweep, f"trial-{trial}-fold{fold}-lr1", table(range(6 * fold, 6 * fold + 6), 0.5))
    same = "no difference found between trial 1 and trial 0 (the settings it began with): "
    assert compare_with_first(sweep, 1, 2, 2) == f"{same}0.000 [0.000, 0.000] mIoU on 12 images"
