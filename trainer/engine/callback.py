"""Interface between the training loop and whatever follows it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from trainer.engine.checkpoint.format import Checkpoint, TrainState
from trainer.engine.evaluate import Evaluation
from trainer.model.score_table import Counts
from trainer.model.segmenter import Segmenter


class Callback(Protocol):
    """Receiver of the events of a training: real on the main process, null on the others."""

    def on_train_begin(self, state: TrainState) -> None:
        """Training starts, or resumes, at `state`; the number of steps is known."""
        ...

    def on_plan(self, state: TrainState, reason: str = "") -> None:
        """Another number of steps is planned than before; `reason` is for people, where they should read it."""
        ...

    def on_threads(self, number: int, text: str) -> None:
        """Each process computes with this number of threads from now on; `text` says why, for people."""
        ...

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Step `step`, the first is 1, gave these metrics."""
        ...

    def on_evaluation(self, state: TrainState, values: dict[str, float], evaluation: Evaluation) -> None:
        """The validation samples were scored; `values` holds metrics that are no scores."""
        ...

    def on_images(self, segmenter: Segmenter, counts: Sequence[Counts], step: int, series: str = "watch") -> None:
        """It is time to draw the watch list as `segmenter` sees it; `counts`: its counts on each validation image."""
        ...

    def checkpoint_due(self) -> bool:
        """Return whether it is time for a checkpoint."""
        ...

    def save(self, snapshot: Callable[[], Checkpoint], wait: bool) -> None:
        """Save the checkpoint that `snapshot` makes; with `wait`, return when it is on the disk."""
        ...

    def wait(self) -> None:
        """Return when nothing is being written any more."""
        ...

    def error(self) -> Exception | None:
        """Error for which training has to end: something could not be written."""
        ...


class NullCallback:
    """Callback of the processes that neither display, nor track, nor write."""

    def on_train_begin(self, state: TrainState) -> None:
        """Do nothing."""

    def on_plan(self, state: TrainState, reason: str = "") -> None:
        """Do nothing."""

    def on_threads(self, number: int, text: str) -> None:
        """Do nothing."""

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Do nothing."""

    def on_evaluation(self, state: TrainState, values: dict[str, float], evaluation: Evaluation) -> None:
        """Do nothing."""

    def on_images(self, segmenter: Segmenter, counts: Sequence[Counts], step: int, series: str = "watch") -> None:
        """Do nothing."""

    def checkpoint_due(self) -> bool:
        """Leave it to the main process."""
        return False

    def save(self, snapshot: Callable[[], Checkpoint], wait: bool) -> None:
        """Do nothing."""

    def wait(self) -> None:
        """Do nothing."""

    def error(self) -> Exception | None:
        """Return None."""
        return None
