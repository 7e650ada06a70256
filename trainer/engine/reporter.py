"""What the main process does with the events of training: display, run, pictures, checkpoints."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from trainer.config import Config
from trainer.data.dataset import ValidationSet
from trainer.data.loader import TrainLoader, augmented
from trainer.data.resize import shrink_image
from trainer.drawing.figures import contact_sheet, shrink_to_panel, watch_panels
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.checkpoint.format import Checkpoint, TrainState
from trainer.engine.checkpoint.writer import CheckpointWriter
from trainer.engine.evaluate import Evaluation
from trainer.engine.loop import Trainer
from trainer.engine.stopping import NotWritten
from trainer.model.segmenter import Segmenter, network_logits
from trainer.system.terminal import Display
from trainer.tracking.names import image_key, metric_key
from trainer.tracking.run import Run


class Reporter:
    """Speaks for all processes."""

    def __init__(
        self,
        run: Run,
        display: Display,
        validation: ValidationSet,
        config: Config,
        loop: Trainer,
        memory_gib: Callable[[], float],
    ) -> None:
        self.run, self.display, self.validation = run, display, validation
        # Spread over the sorted names: neighbours are often the same scene.
        self.watched = sorted(
            {int(place) for place in np.linspace(0, len(validation.samples) - 1, config.tracking.watch)}
        )
        self.steps_per_epoch, self.minutes = loop.batches.steps_per_epoch, config.train.minutes
        self.memory_gib = memory_gib
        resumed_from = loop.saved.step if loop.saved else None
        self.checkpoints = CheckpointFolder(
            run.folder / "checkpoints", resumed_from, lambda text: display.log(f"warning: {text}", "yellow")
        )
        self.writer = CheckpointWriter(self._write, config.train.checkpoint_minutes)
        self.disk_error: NotWritten | None = None
        self.absent: list[str] = []

    def on_train_begin(self, position: TrainState) -> None:
        if self.minutes:
            epochs = position.total_steps / self.steps_per_epoch
            self.display.log(f"{position.total_steps} steps, {epochs:.1f} epochs, fit into {self.minutes:g} minutes")
        with self._disk():
            self.run.params({"train.steps": position.total_steps})
        self.display.start_training(position.total_steps, position.step)

    def on_step(self, step: int, values: dict[str, float]) -> None:
        self.display.step(step, values, self.memory_gib)
        with self._disk():
            self.run.metrics(values, step)

    def on_evaluation(self, position: TrainState, values: dict[str, float], evaluation: Evaluation) -> None:
        scores = evaluation.scores
        values |= {f"val/iou/{metric_key(name)}": value for name, value in scores.iou.items()}
        if scores.miou is not None and scores.mean_dice is not None:
            values |= {"val/miou": scores.miou, "val/dice": scores.mean_dice}
        if scores.absent != self.absent:
            self.absent = scores.absent
            self.display.log(
                f"no pixel of {', '.join(scores.absent)} in the validation masks: not in the means", "yellow"
            )
        with self._disk():
            self.run.metrics(values, position.step)
        epoch = position.step / self.steps_per_epoch
        self.display.evaluation(
            position.step,
            epoch,
            values,
            scores.iou,
            best=position.best_step == position.step and position.evaluations_without_better == 0,
        )

    @torch.no_grad()
    def on_images(self, segmenter: Segmenter, step: int) -> None:
        segmenter.eval()
        for place in self.watched:
            sample = self.validation.samples[place]
            key = f"watch/{image_key(sample.name)}"
            if self.run.has_image(key, step):
                continue
            picture = watch_panel(segmenter, sample.read_image(), sample.read_mask(self.validation.values))
            with self._disk():
                self.run.picture(key, picture, step)

    def checkpoint_due(self) -> bool:
        return self.writer.due()

    def save(self, snapshot: Callable[[], Checkpoint], wait: bool) -> None:
        self.writer.save(snapshot, wait)

    def settle(self) -> None:
        self.writer.settle()

    def trouble(self) -> Exception | None:
        return self.disk_error or self.writer.trouble()

    def _write(self, checkpoint: Checkpoint) -> None:
        """In the writer's thread: the checkpoint, and before it what the journal says of the steps up to it."""
        self.run.journal.fsync()
        self.checkpoints.save(checkpoint)
        step = checkpoint.position.step
        self.run.status("running", step=step, epoch=step / self.steps_per_epoch)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """A full disk ends training at the next step, on all processes together."""
        try:
            yield
        except OSError as error:
            self.disk_error = self.disk_error or NotWritten(self.run.folder, error)


def augmentation_sheet(batches: TrainLoader, config: Config) -> np.ndarray:
    """What the network sees, with its masks, uint8 RGB: a row for each of a few pictures, plain and in four epochs."""
    rows = batches.train_rows
    chosen = np.unique(rows[np.linspace(0, len(rows) - 1, 5).astype(int)])
    plain = batches.micro_batch(chosen, 0).pictures
    columns = [(plain.images.float(), plain.masks)]
    if config.data.augment != "off":
        columns += [
            augmented(batches.micro_batch(chosen, epoch), config, epoch, config.data.image_size) for epoch in range(4)
        ]
    return contact_sheet(
        [
            [
                (image.permute(1, 2, 0).round().to(torch.uint8).numpy(), mask.numpy())
                for image, mask in zip(*column, strict=True)
            ]
            for column in columns
        ]
    )


def watch_panel(segmenter: Segmenter, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The watch-list picture of one sample: `image` uint8 [H, W, 3], `mask` uint8 [H, W]."""
    height, width = shrink_to_panel(mask.shape)
    device = next(segmenter.parameters()).device
    square = torch.from_numpy(shrink_image(image, segmenter.contract.image_size)).permute(2, 0, 1)[None]
    probabilities = segmenter.probabilities(network_logits(segmenter, square.to(device)), (height, width))
    predicted = segmenter.classes(probabilities)[0].cpu().numpy()
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip((height, width), mask.shape, strict=True)
    )
    return watch_panels(image[rows[:, None], columns], mask[rows[:, None], columns], predicted)
