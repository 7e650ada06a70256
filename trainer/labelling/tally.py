"""Counts of a project: what a person has done with the predictions, what is left, and what more may bring."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer import InputError
from trainer.data.files import list_files
from trainer.data.layouts.labelme_json import read_record
from trainer.data.layouts.labelme_predicted import ACCEPTED, CORRECTED, DRAWN, WAITING, state_of
from trainer.labelling.learning_curve import LEAST_ROUNDS, LEVEL, expected_gain
from trainer.labelling.prefill import open_queue
from trainer.labelling.project import Project, State
from trainer.system.text import count_of, valid


@dataclass(frozen=True)
class Tally:
    """Numbers of images."""

    labelled: int
    """All that train, whoever labelled them."""

    corrected: int
    accepted: int
    """Accepted as they were predicted."""

    drawn: int
    """Labelled by hand in the folder of predictions."""

    waiting: int
    """Predicted, not yet looked at."""

    unsure: int
    """Of those that wait, the ones that the model was least sure of."""

    left: int
    """Images of the pool that are neither labelled nor given."""


def count(project: Project, labelled: int, left: int) -> Tally:
    """Count the files in the folder to label; `labelled` and `left` are numbers of images that others have counted.

    Files that cannot be read are left out.
    """
    queue = open_queue(project.to_label)
    files = list_files(project.to_label, (".json",), deep=True) if project.to_label.is_dir() else []
    states: dict[Path, str] = {}
    for file in files:
        with suppress(InputError):
            states[file] = state_of(read_record(file, project.to_label))
    numbers = Counter(states.values())
    doubtful = {name for name, about in queue.files.items() if about.get("unsure")}
    names = {file: valid(file.relative_to(project.to_label).with_suffix("").as_posix()) for file in files}
    unsure = sum(names[file] in doubtful for file, state in states.items() if state == WAITING)
    corrected, accepted, drawn, waiting = (numbers[state] for state in (CORRECTED, ACCEPTED, DRAWN, WAITING))
    return Tally(labelled, corrected, accepted, drawn, waiting, unsure, left)


def describe(project: Project, state: State, tally: Tally) -> list[str]:
    """Lines for a person."""
    lines = [
        f"{project.name}: {count_of(tally.labelled, 'labelled picture')}, "
        f"{count_of(len(state.rounds), 'round')} of the model {project.model}",
        f"  {tally.corrected:6} corrected predictions",
        f"  {tally.accepted:6} predictions accepted as they were",
        f"  {tally.drawn:6} drawn by hand in {project.to_label}",
        f"  {tally.waiting:6} predictions not looked at yet, {tally.unsure} of them unsure",
        f"  {tally.left:6} left in {project.pool}",
    ]
    for one in state.rounds:
        shown = "-" if one.score is None else f"{one.score:.4f}"
        gate = one.steps.get("gate", {})
        fate = "champion" if gate.get("promoted") else "not better" if gate else f"stopped after {_last(one.steps)}"
        lines.append(f"  round {one.number:2}: {one.images:5} labelled, mIoU {shown}, {fate}")
    return [*lines, f"  {_gain(state, project, tally)}"]


def _last(steps: Mapping[str, object]) -> str:
    return list(steps)[-1] if steps else "its beginning"


def _gain(state: State, project: Project, tally: Tally) -> str:
    """Sentence on what the next images may bring, by the learning curve; or why that is not known."""
    more = min(project.count, tally.waiting + tally.left)
    if not more:
        return f"expected gain: none; no picture of {project.pool} waits for labels"
    scores = state.scores()
    gain = expected_gain([images for images, _ in scores], [score for _, score in scores], more)
    if gain is None:
        different = len({images for images, _ in scores})
        return (
            f"expected gain of {more} more: not known; the learning curve takes {LEAST_ROUNDS} rounds with different "
            f"numbers of labelled pictures, there {'is' if different == 1 else 'are'} {different}"
        )
    last = next(one.number for one in reversed(state.rounds) if one.score is not None)
    return (
        f"expected gain of {more} more than round {last} had: {gain.expected:+.4f} mIoU ({LEVEL:.0%}: {gain.low:+.4f} "
        f"to {gain.high:+.4f}), from the curve through the rounds, each scored on its own validation pictures"
    )
