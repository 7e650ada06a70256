"""What the loop tells, and to whom."""

from collections.abc import Callable
from typing import Protocol

from trainer.engine.checkpoint.format import Checkpoint, TrainState
from trainer.engine.evaluate import Evaluation
from trainer.model.segmenter import Segmenter


class Callback(Protocol):
    """Who is told what happens. The main process has a real one, the others idle ones."""

    def on_train_begin(self, position: TrainState) -> None:
        """The number of steps is settled; `position` is where training starts, or goes on."""
        ...

    def on_step(self, step: int, values: dict[str, float]) -> None: ...

    def on_evaluation(self, position: TrainState, values: dict[str, float], evaluation: Evaluation) -> None: ...

    def on_images(self, segmenter: Segmenter, step: int) -> None: ...

    def checkpoint_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        ...

    def save(self, snapshot: Callable[[], Checkpoint], wait: bool) -> None:
        """Keep what `snapshot` gives; with `wait`, return when it is on the disk."""
        ...

    def settle(self) -> None:
        """Return when nothing is being written any more."""
        ...

    def trouble(self) -> Exception | None:
        """Why training has to end: something that was to be kept could not be written."""
        ...


class NullCallback:
    """For the processes that compute while another one speaks."""

    def on_train_begin(self, position: TrainState) -> None:
        """Nothing to say."""

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Nothing to say."""

    def on_evaluation(self, position: TrainState, values: dict[str, float], evaluation: Evaluation) -> None:
        """Nothing to say."""

    def on_images(self, segmenter: Segmenter, step: int) -> None:
        """Nothing to draw."""

    def checkpoint_due(self) -> bool:
        return False

    def save(self, snapshot: Callable[[], Checkpoint], wait: bool) -> None:
        """Nothing to keep."""

    def settle(self) -> None:
        """Nothing is being written."""

    def trouble(self) -> Exception | None:
        return None
