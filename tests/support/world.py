"""Several processes that train short cases together through the program's own loop, and write their numbers to files.

Started by `run_world` of tests/support/parity.py, once per number of processes: starting takes longest.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch._dynamo  # imported by the first optimizer, in each process
from accelerate import Accelerator
from torch.multiprocessing import start_processes

from tests.support.training import Prepared, prepare
from trainer.cli import parse
from trainer.data import crops, loader, sampler
from trainer.data.dataset import ValidationSet
from trainer.engine import assembly, auto, evaluate, schedule, step
from trainer.engine.callback import NullCallback
from trainer.engine.checkpoint.format import Checkpoint
from trainer.engine.distributed.accelerator import join_processes
from trainer.engine.stopping import Interrupted
from trainer.model import loss, unlabelled
from trainer.model.segmenter import Segmenter


class Recorder(NullCallback):
    """Callback that stores every number of a training run, and the gradient of each step."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.steps: list[dict[str, float]] = []
        self.gradients: list[np.ndarray] = []
        self.validation: list[dict[str, Any]] = []
        self.rows: list[list[int]] = []
        self.unlabelled_rows: list[list[int]] = []
        self.checkpoint: Checkpoint | None = None
        self.checkpoint_due_after, self.snapshot = 0, Checkpoint

    def on_step(self, step: int, values: dict[str, float]) -> None:
        self.steps.append(values)
        gradient = [weight.grad for weight in self.segmenter.network.parameters()]
        self.gradients.append(torch.cat([part.flatten() for part in gradient if part is not None]).float().numpy())
        if step == self.checkpoint_due_after:
            self.checkpoint = self.snapshot()

    def on_evaluation(self, state: Any, values: dict[str, float], evaluation: evaluate.Evaluation) -> None:
        self.validation.append(numbers(evaluation))

    def batches(self, real: Iterator[loader.StepBatch]) -> Iterator[loader.StepBatch]:
        """Yield the batches, and store the rows of the samples that count."""
        for batch in real:
            self.rows.append(counted_rows(batch))
            self.unlabelled_rows.append(counted_rows(batch.unlabelled) if batch.unlabelled else [])
            yield batch


def counted_rows(part: loader.Part) -> list[int]:
    """Rows of the samples that count."""
    return [int(row) for micro in part.micro for row in micro.rows[: len(micro.weights)][micro.weights.numpy() > 0]]


def numbers(evaluation: evaluate.Evaluation) -> dict[str, Any]:
    """Loss and scores as JSON."""
    return {"loss": evaluation.loss, "iou": evaluation.scores.iou, "dice": evaluation.scores.dice}


def run_case(prepared: Prepared, accelerator: Accelerator, out: Path, case: dict[str, Any]) -> None:
    """Evaluate sets of several sizes with the untrained weights, then train; write the numbers into `out`."""
    dataset, segmenter, config = prepared.dataset, prepared.segmenter, prepared.config
    with torch.no_grad():  # every class is predicted somewhere, so that scores can differ
        segmenter.network.last.weight.mul_(10)
        assert segmenter.network.last.bias is not None
        segmenter.network.last.bias.zero_()
    rows = dataset.split.val
    process, processes = accelerator.process_index, accelerator.num_processes
    sizes = {}
    for size in case["validation_sizes"]:
        several = (rows * 3)[:size]
        data = ValidationSet(dataset.samples(several), several, dataset.stored, dataset.sources.values)
        reduce = accelerator.reduce
        sizes[size] = numbers(evaluate.evaluate(segmenter, data, config.loss, process, processes, reduce))
    recorder = Recorder(segmenter)
    # Requested during the step, as by a signal.
    stop_after = case["stop_after"] * process
    trainer = prepared.trainer(accelerator, recorder, lambda: len(recorder.steps) + 1 == stop_after)
    recorder.checkpoint_due_after, recorder.snapshot = case["resume_after"], trainer.snapshot
    real = trainer.loader.batches
    trainer.loader.batches = lambda *given: recorder.batches(real(*given))  # type: ignore[method-assign]
    began = time.perf_counter()
    with contextlib.suppress(Interrupted):
        trainer.fit()
    norms = [module for module in segmenter.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    buffers = torch.cat([buffer.flatten().double() for buffer in segmenter.buffers()])
    content = {
        "steps": recorder.steps,
        "rows": recorder.rows,
        "unlabelled_rows": recorder.unlabelled_rows,
        "validation": recorder.validation,
        "validation_of_size": sizes,
        "sizes": [weight.numel() for weight in segmenter.network.parameters() if weight.requires_grad],
        "device": accelerator.device.type,
        "micro_batch_size": trainer.loader.micro_batch_size,
        "buffers": buffers.tolist(),
        "first_mean": next((one.running_mean.tolist() for one in norms if one.running_mean is not None), []),
        "best": sum(float(value.double().sum()) for value in trainer.best.values()),
        "seconds": time.perf_counter() - began,
        "resumed_loses": lost_by_resuming(case, accelerator, out, recorder),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{process}.json").write_text(json.dumps(content))
    np.save(out / f"{process}.npy", np.stack(recorder.gradients))


def lost_by_resuming(case: dict[str, Any], accelerator: Accelerator, out: Path, recorder: Recorder) -> int | None:
    """Number of gradients that are not bit for bit the same in a training resumed from the recorder's checkpoint."""
    if recorder.checkpoint is None:
        return None
    prepared = prepare(case["config"], out.parent / "cache")
    again = Recorder(prepared.segmenter)
    trainer = prepared.trainer(accelerator, again)
    trainer.restore(recorder.checkpoint)
    trainer.fit()
    return int(np.sum(np.stack(again.gradients) != np.stack(recorder.gradients[case["resume_after"] :])))


# ---------------------------------------------------------------- faults: each must make the comparison fail


def all_take_the_first_share() -> Any:
    return patch.object(loader, "share", lambda batch, _process, processes: sampler.share(batch, 0, processes))


def average_of_averages() -> Any:
    def broken(terms: Any, weights: torch.Tensor, _samples: int, *others: Any) -> Any:
        return loss.objective(terms, weights, len(weights) * torch.distributed.get_world_size(), *others)

    return patch.object(step, "objective", broken)


def ratio_of_each_process() -> Any:
    real = loss.batch_dice_part
    return patch.object(loss, "batch_dice_part", lambda sums, _total, smooth: real(sums, sums.detach(), smooth))


def schedule_steps_once_per_process() -> Any:
    real = schedule.learning_rate

    def broken(step: int, *others: Any) -> float:
        return real(step * torch.distributed.get_world_size(), *others)

    return patch.object(schedule, "learning_rate", broken)


def gradients_are_not_exchanged() -> Any:
    real = step.TrainStep.backward

    def broken(self: step.TrainStep, batch: Any) -> Any:
        with self.accelerator.no_sync(self.network):
            return real(self, batch)

    return patch.object(step.TrainStep, "backward", broken)


def accumulation_divides() -> Any:
    return patch.object(Accelerator, "gradient_accumulation_steps", 2)


def augmentation_by_place() -> Any:
    real = loader.augment
    return patch.object(loader, "augment", lambda *given: real(*given[:5], range(len(given[5])), *given[6:]))


def crops_by_place() -> Any:
    """Crops that depend on the place of a sample in its micro-batch."""
    real = crops.Crops.corner
    count = itertools.count()
    return patch.object(
        crops.Crops, "corner", lambda self, row, epoch, side, stream=0: real(self, row, next(count), side, stream)
    )


def all_validate_everything() -> Any:
    real = assembly.evaluate
    alone = {"process": 0, "processes": 1}
    return patch.object(assembly, "evaluate", lambda segmenter, **named: real(segmenter, **(named | alone)))


@contextlib.contextmanager
def two_images_fit_on_the_last_process() -> Iterator[None]:
    """Memory runs out at once, as on a GPU, and on the last process sooner than on the others."""
    real, limit = auto.attempt_step, 2 if is_last() else 1000

    def refusing(network: torch.nn.Module, side: int, autocast: Any, size: int, channels: int) -> None:
        real(network, side, autocast, size, channels)
        if size > limit:
            raise torch.OutOfMemoryError(f"{size} images are too many")

    with everything_fits(), patch.object(auto, "attempt_step", refusing):
        yield


def everything_fits() -> Any:
    """Run the search, as on a GPU; the whole share fits."""
    return patch.object(auto, "allocation_can_fail", lambda _device: True)


def is_last() -> bool:
    return int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1


def processes_without_samples_skip_the_step() -> Any:
    real = loader.TrainLoader.read

    def broken(self: loader.TrainLoader, step: int, side: int) -> loader.StepBatch:
        batch = real(self, step, side)
        return batch if batch.own else dataclasses.replace(batch, micro=[])

    return patch.object(loader.TrainLoader, "read", broken)


def buckets_as_they_come() -> Any:
    return patch.object(step.TrainStep, "_order_buckets", lambda _self: None)


def statistics_are_not_averaged() -> Any:
    return patch.object(step, "average_buffers", lambda *_given: None)


@contextlib.contextmanager
def sure_teacher() -> Iterator[None]:
    """No fault, but a teacher that is sure of most pixels before it has learnt, and targets that count at once."""
    with patch.object(unlabelled, "THRESHOLD", 0.7), patch.object(unlabelled, "RAMP_STEPS", 1e-9):
        yield


@contextlib.contextmanager
def unlabelled_average_of_averages() -> Iterator[None]:
    real = step.TrainStep.backward_unlabelled

    def broken(self: step.TrainStep, part: loader.Part, weight: float) -> torch.Tensor:
        places = sum(len(micro.rows) for micro in part.micro)
        samples = places * self.accelerator.num_processes
        return real(self, dataclasses.replace(part, samples=samples), weight)

    with sure_teacher(), patch.object(step.TrainStep, "backward_unlabelled", broken):
        yield


@contextlib.contextmanager
def unlabelled_by_place() -> Iterator[None]:
    real = step.augment

    def broken(*given: Any) -> Any:
        return real(*given[:5], range(len(given[5])), given[6])

    with sure_teacher(), patch.object(step, "augment", broken):
        yield


@contextlib.contextmanager
def unlabelled_gradients_are_not_exchanged() -> Iterator[None]:
    real = step.TrainStep.backward_unlabelled

    def broken(self: step.TrainStep, part: loader.Part, weight: float) -> torch.Tensor:
        with self.accelerator.no_sync(self.network):
            return real(self, part, weight)

    with sure_teacher(), patch.object(step.TrainStep, "backward_unlabelled", broken):
        yield


@contextlib.contextmanager
def channels_first() -> Iterator[None]:
    """No fault, but the other order of numbers in memory, torch's default."""

    def forward(segmenter: Segmenter, resized: torch.Tensor) -> torch.Tensor:
        return segmenter.network(segmenter.normalise(resized).contiguous())

    real = assembly.make_segmenter

    def contiguous(*given: Any) -> Segmenter:
        return real(*given).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    with patch.object(Segmenter, "logits", forward), patch.object(assembly, "make_segmenter", contiguous):
        yield


FAULTS: dict[str, Callable[[], Any]] = {
    fault.__name__: fault
    for fault in (
        all_take_the_first_share,
        average_of_averages,
        ratio_of_each_process,
        schedule_steps_once_per_process,
        gradients_are_not_exchanged,
        accumulation_divides,
        augmentation_by_place,
        crops_by_place,
        all_validate_everything,
        statistics_are_not_averaged,
        buckets_as_they_come,
        two_images_fit_on_the_last_process,
        everything_fits,
        processes_without_samples_skip_the_step,
        sure_teacher,
        unlabelled_average_of_averages,
        unlabelled_by_place,
        unlabelled_gradients_are_not_exchanged,
        channels_first,
    )
}


def join_world(rank: int, processes: int, port: int, order: dict[str, Any]) -> None:
    """Be one of the processes: run the cases of `order`."""
    os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    os.environ |= {"WORLD_SIZE": f"{processes}", "LOCAL_WORLD_SIZE": f"{processes}"}
    accelerator = join_processes(order["mixed_precision"], threads=1, timeout_minutes=order["timeout_minutes"])
    out = Path(order["out"])
    for name, case in order["cases"].items():
        with FAULTS[case["fault"]]() if case["fault"] else contextlib.nullcontext():
            prepared = prepare(case["config"], out / "cache")
            try:
                run_case(prepared, accelerator, out / name, case)
            except AssertionError as error:  # the program's own, on all processes
                (out / name).mkdir(parents=True, exist_ok=True)
                (out / name / f"{accelerator.process_index}.noticed").write_text(str(error))
    accelerator.end_training()


def main() -> None:
    """Start a world from a JSON file: data folder, output folder, precision, and `Case` fields by name.

    Forked after imports and command lines, which take longer than the cases. An error of one process ends all.
    """
    order, processes = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])
    for case in order["cases"].values():
        case["config"] = parse(["--data.root", order["data"], *case["arguments"]])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(join_world, (processes, port, order), processes, start_method="fork")


if __name__ == "__main__":
    main()
