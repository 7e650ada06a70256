"""Callback of the main process: terminal, metrics, images, checkpoints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from trainer import IGNORE
from trainer.data.dataset import ValidationSet
from trainer.data.loader import Augmentation, TrainLoader
from trainer.data.resize_mask import nearest_pixels
from trainer.drawing.bands import to_rgb
from trainer.drawing.figures import contact_sheet, shrink_to_panel, watch_panels
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import Checkpoint, TrainState
from trainer.engine.checkpoint.writer import CheckpointWriter
from trainer.engine.evaluate import Evaluation
from trainer.engine.rare_classes import TOLD_AFTER, Advice
from trainer.engine.stopping import NotWritten, writing
from trainer.model.ranking import image_iou
from trainer.model.score_table import Counts
from trainer.model.segmenter import Contract, Segmenter
from trainer.model.tiles import TILE_SIDE
from trainer.system.terminal import Display
from trainer.tracking.names import image_key, metric_key
from trainer.tracking.run import Run


class Reporter:
    """Shows and records a training, and writes its checkpoints."""

    def __init__(
        self,
        run: Run,
        display: Display,
        validation: ValidationSet,
        *,
        watch: int,
        minutes: float,
        checkpoint_minutes: float,
        steps_per_epoch: int,
        resumed_from: int | None,
        memory_gib: Callable[[], float],
        advice: Advice,
        evaluated_share: float = 0.0,
        usage: Callable[[], dict[str, float]] = dict,
    ) -> None:
        """`watch`: number of validation samples to draw; `resumed_from`: step of the checkpoint that is continued.

        `evaluated_share`: share of the course of the training at which an earlier start has evaluated last. `usage`:
        metrics of the machine after a step, none where no sample of them is due.
        """
        self.run, self.display, self.validation = run, display, validation
        # Spread over the sorted names: neighbours are often the same scene.
        places = np.linspace(0, len(validation.samples) - 1, watch if validation.samples else 0)
        self.watched = sorted({int(place) for place in places})
        self.steps_per_epoch, self.minutes, self.memory_gib = steps_per_epoch, minutes, memory_gib
        self.checkpoints = CheckpointFolder(
            run.folder.checkpoints, resumed_from, lambda text: display.log(f"warning: {text}", "yellow")
        )
        self.writer = CheckpointWriter(self._write, checkpoint_minutes)
        self.disk_error: NotWritten | None = None
        self.journal_error: NotWritten | None = None
        self.absent: list[str] = []
        self.advice, self.evaluated_share, self.usage = advice, evaluated_share, usage

    def on_train_begin(self, state: TrainState) -> None:
        """Start the progress bar."""
        if self.minutes:
            epochs = state.total_steps / self.steps_per_epoch
            self.display.log(f"{state.total_steps} steps, {epochs:.1f} epochs, fit into {self.minutes:g} minutes")
        with self._journal_errors():
            self.run.tags({"train.steps": state.total_steps})
        self.display.start_training(state.total_steps, state.step)

    def on_plan(self, state: TrainState, reason: str = "") -> None:
        """Show another number of steps, and why it is another."""
        if reason:
            self.display.log(reason, "bold")
        with self._journal_errors():
            self.run.tags({"train.steps": state.total_steps})
        self.display.plan(state.total_steps)

    def on_threads(self, number: int, text: str) -> None:
        """Show and record the number of threads."""
        self.display.log(text)
        with self._journal_errors():
            self.run.tags({"train.threads": number})

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Advance the progress bar, and record the metrics."""
        self.display.step(step, values, self.memory_gib)
        with self._journal_errors():
            self.run.metrics(values | self.usage(), step)

    def on_evaluation(self, state: TrainState, values: dict[str, float], evaluation: Evaluation) -> None:
        """Print a row of the table, and record the scores."""
        if not self.validation.samples:
            with self._journal_errors():
                self.run.metrics({key: value for key, value in values.items() if key.startswith("time/")}, state.step)
            return
        scores = evaluation.scores
        values |= {f"val/iou/{metric_key(name)}": value for name, value in scores.iou.items()}
        if scores.miou is not None and scores.mean_dice is not None:
            values |= {"val/miou": scores.miou, "val/dice": scores.mean_dice}
        if scores.absent != self.absent:
            self.absent = scores.absent
            text = f"no pixel of {', '.join(scores.absent)} in the validation masks: not in the means"
            self.display.log(text, "yellow")
        with self._journal_errors():
            self.run.metrics(values, state.step)
        epoch = state.step / self.steps_per_epoch
        # A model that finds nothing is no best one, though the first and its equals are kept for want of another.
        best = state.best_step == state.step and state.evaluations_without_better == 0 and state.best_miou != 0
        self.display.evaluation(state.step, epoch, values, scores.iou, best)
        self._warn_of_missing_classes(state, scores.iou)

    def _warn_of_missing_classes(self, state: TrainState, iou: Mapping[str, float]) -> None:
        """Name the classes that are not found at the first evaluation after TOLD_AFTER of the course."""
        before, self.evaluated_share = self.evaluated_share, state.plan.share(state.step)
        missing = [name for name, value in iou.items() if value == 0]
        if before < TOLD_AFTER <= self.evaluated_share and missing:
            text = self.advice.not_found(missing, state.step, state.total_steps)
            self.display.log(f"warning: {text}", "yellow")

    def on_images(self, segmenter: Segmenter, counts: Sequence[Counts], step: int, series: str = "watch") -> None:
        """Draw the watch list; an earlier start of the run may have drawn it at this step.

        `counts`: what the model counts on each validation image, so that a picture has the IoU of the tables.
        `series`: watch for those of the training, best for those of the best weights, which are all at one step, so
        that MLflow's UI shows them without its slider.
        """
        segmenter.eval()
        for place in self.watched:
            sample = self.validation.samples[place]
            key = f"{series}/{image_key(sample.name)}"
            if self.run.has_image(key, step):
                continue
            image = sample.read_image(levels=segmenter.contract.range_of_levels)
            mask = sample.read_mask(self.validation.values)
            if segmenter.contract.view == "tiles":
                image, mask = image[part := watched_part(mask, segmenter.contract)], mask[part]
            score = float(image_iou(np.array(counts[place])[None])[0])
            panels = watch_image(segmenter, image, mask, score)
            try:
                with writing(self.run.folder.images):
                    self.run.image(key, panels, step)
            except NotWritten as error:
                self.disk_error = self.disk_error or error

    def checkpoint_due(self) -> bool:
        """Return whether it is time for a checkpoint."""
        return self.writer.due()

    def save(self, snapshot: Callable[[], Checkpoint], wait: bool) -> None:
        """Write a checkpoint in the writer's thread."""
        self.writer.save(snapshot, wait)

    def wait(self) -> None:
        """Return when no checkpoint is being written."""
        self.writer.wait()

    def error(self) -> Exception | None:
        """Error of the disk, or of the last checkpoint; none where the journal has caught up since."""
        lost = self.journal_error if self.run.journal.unwritten else None
        return lost or self.disk_error or self.writer.error()

    def _write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, in the writer's thread, after the journal of the steps up to it."""
        with writing(self.run.folder.journal):  # a checkpoint must not be ahead of it: nothing is recorded again
            self.run.journal.fsync()
        self.checkpoints.save(checkpoint)
        step = checkpoint.state.step
        self.run.status("running", step=step, epoch=step / self.steps_per_epoch)

    @contextmanager
    def _journal_errors(self) -> Iterator[None]:
        """Note a full disk, which ends training at the next step, on all processes together."""
        try:
            with writing(self.run.folder.journal):
                yield
        except NotWritten as error:
            self.journal_error = error


def augmentation_sheet(loader: TrainLoader, augment: Augmentation) -> np.ndarray:
    """Contact sheet, uint8 RGB, of training images with their masks: a row for each, plain and in four epochs."""
    rows, side = loader.train_rows, loader.sides.full
    chosen = np.unique(rows[np.linspace(0, len(rows) - 1, 5).astype(int)])
    plain = loader.micro_batch(chosen, 0).batch
    columns = [(plain.images.float(), plain.masks)]
    if augment.preset != "off":
        columns += [augment(loader.micro_batch(chosen, epoch), epoch, side) for epoch in range(4)]
    return contact_sheet([[_as_arrays(*pair) for pair in zip(*column, strict=True)] for column in columns])


def _as_arrays(image: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return to_rgb(image.permute(1, 2, 0).round().to(torch.uint8).numpy()), mask.numpy()


def watched_part(mask: np.ndarray, contract: Contract) -> tuple[slice, slice]:
    """Rows and columns of a large image that are drawn: as much as a tile shows, around the middle of what is labelled.

    `mask`: uint8 [H, W]. In the whole image, drawn as small as it is, thin things could not be seen.
    """
    labelled = np.argwhere((mask > 0) & (mask != IGNORE))
    side = round(TILE_SIDE * contract.image_size / contract.scale)
    # The labelled pixel nearest to their middle, which may be empty.
    middle = np.array(mask.shape) / 2 if not len(labelled) else labelled.mean(axis=0)
    if len(labelled):
        middle = labelled[((labelled - middle) ** 2).sum(axis=1).argmin()]
    starts = [
        int(min(max(0, at - side / 2), max(0, length - side))) for at, length in zip(middle, mask.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def watch_image(segmenter: Segmenter, image: np.ndarray, mask: np.ndarray, score: float | None = None) -> np.ndarray:
    """Four panels of one sample, uint8 RGB, from `image` uint8 [H, W, C] and `mask` uint8 [H, W].

    `score`: its IoU at its own size, written into them.
    """
    size = shrink_to_panel(mask.shape)
    predicted, _ = segmenter.predict(image, size)
    pixels = nearest_pixels(mask.shape, size)
    return watch_panels(to_rgb(image[pixels]), mask[pixels], predicted, segmenter.contract.colours, score)
