"""Assembly of a training: from settings and data to a model, and from these to a finished Trainer."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from trainer import InputError, redact_all
from trainer.config import Config, flatten
from trainer.data.dataset import Dataset
from trainer.data.full_size import FullSize
from trainer.data.loader import Augmentation, ImageSides, TrainLoader, image_sides
from trainer.data.sampler import Sampler, micro_batches, share
from trainer.data.unlabelled import PER_LABELLED, unlabelled_in_step
from trainer.engine import auto
from trainer.engine.callback import Callback, NullCallback
from trainer.engine.checkpoint.format import Checkpoint
from trainer.engine.distributed.accelerator import numeric_environment
from trainer.engine.distributed.collectives import all_reduce_min
from trainer.engine.evaluate import Evaluation, evaluate
from trainer.engine.loop import Trainer
from trainer.engine.memory import StepSize
from trainer.engine.parameters import freeze_encoder
from trainer.engine.rare_classes import ClassCounts
from trainer.engine.schedule import Schedule
from trainer.engine.step import TrainingNetwork, TrainStep
from trainer.engine.threads import AutoThreads, is_chosen, threads_at_start
from trainer.model.build import make_contract, make_segmenter
from trainer.model.flop import training_flop
from trainer.model.hub_folder import licence_notice
from trainer.model.segmenter import Segmenter
from trainer.model.tiles import make_axis
from trainer.system.provenance import git
from trainer.tracking.load import load_model


def prepare_model(config: Config, dataset: Dataset) -> tuple[Config, Segmenter, list[str]]:
    """Resolve what the data decides, and make the model that training starts with.

    Returns the resolved settings, the model, and the reasons for people. Raises InputError where the settings do not
    fit the data, or model.init cannot be read or is of another shape.
    """
    init = load_model(config.model.init).segmenter if config.model.init is not None else None
    config, reasons = auto.resolve(config, class_counts(dataset), init.contract if init else None)
    config, name_reason = auto.resolve_names(config, dataset.title)
    contract = make_contract(
        config.model,
        dataset.stored.view,
        dataset.names,
        dataset.digest,
        commit=git("rev-parse", "HEAD"),
        levels=dataset.levels,
        init=init.contract if init else None,
        normalisation=dataset.normalisation(),
    )
    segmenter = make_segmenter(
        contract, dataset.shares(), config.train.seed, init, config.model.init, config.model.encoder
    )
    freeze_encoder(segmenter.network, config.model.freeze)
    licence = licence_notice(contract.encoder, contract.encoder_licence)
    adapted = ""
    if init and init.contract.input_channels != contract.input_channels:
        theirs, ours = init.contract.input_channels, contract.input_channels
        adapted = f"model.init: made for {theirs} bands; its layers that read the image are adapted to {ours}"
    return config, segmenter, [*reasons, *filter(None, [adapted, name_reason, licence])]


def class_counts(dataset: Dataset) -> ClassCounts:
    """Count what the training pictures hold of each class."""
    return ClassCounts(dataset.names, dataset.pixels.tolist(), dataset.pictures.tolist(), len(dataset.split.train))


def require_values_to_normalise(config: Config, accelerator: Accelerator, images: int, unlabelled: int = 0) -> None:
    """Raise InputError where batch norm would find one value for each channel in some step.

    `images` train, and `unlabelled` more.

    That is one image alone, of one pixel at the network's bottom. Synchronised batch norm sees all processes' images.
    """
    multiple, train, processes = 2**config.model.depth, config.train, accelerator.num_processes
    if config.model.encoder != "none":  # its norms keep their statistics, and those of the decoder see more pixels
        return
    synchronised = accelerator.device.type == "cuda" and processes > 1
    if config.model.norm != "batch" or config.data.image_size > multiple or synchronised:
        return
    sampler = Sampler(images, train.batch_size, train.seed, config.data.drop_last)
    largest = train.batch_size if train.micro_batch_size == "auto" else int(train.micro_batch_size)
    batches = [sampler.batch(0, 0), sampler.batch(0, sampler.steps_per_epoch - 1)]
    if unlabelled:
        batches.append(np.arange(unlabelled_in_step(unlabelled, len(batches[0]))))
    for batch in batches:
        shares = (share(batch, process, processes) for process in range(processes))
        pieces = (piece for own in shares for piece in micro_batches(own, len(batch), processes, largest))
        if min(len(piece) for piece in pieces) <= 1:
            raise InputError(
                f"data.image_size {multiple} leaves one pixel at the bottom of a network of model.depth "
                f"{config.model.depth}, and a process sends one picture alone through it: batch norm has nothing to "
                f"compare there. Give --data.image_size {2 * multiple} or --model.norm group"
            )


def build_trainer(
    config: Config,
    accelerator: Accelerator,
    dataset: Dataset,
    segmenter: Segmenter,
    callback: Callback | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> tuple[Trainer, list[str]]:
    """Make the Trainer of one process from resolved settings, and the reasons for people. A collective."""
    train = config.train
    segmenter.to(accelerator.device)
    sides = image_sides(
        config.data.image_size, segmenter.contract.stride, train.progressive, segmenter.contract.least_bottom
    )
    size, size_reason = _step_size(config, accelerator, dataset, segmenter)
    compiled, compile_reason = _compiled(config, accelerator, dataset, segmenter, sides)
    loader = _loader(config, accelerator, dataset, size, sides, compiled)
    schedule, schedule_reason = _schedule(config, dataset, loader.steps_per_epoch)
    augmentation = Augmentation(config.data.augment, train.seed)
    trainer = Trainer(
        TrainStep(accelerator, segmenter, augmentation, config.loss, config.optim, train.ema, compiled),
        loader,
        schedule,
        size,
        _evaluation(config, accelerator, dataset, stop_requested),
        callback or NullCallback(),
        _checkpoint_maker(config, accelerator, segmenter),
        stop_requested,
        _threads(config, accelerator),
    )
    sizes = _sizes(accelerator, loader, size, len(dataset.split.train))
    threads_reason = threads_at_start(train.threads, 1)[1]
    return trainer, [sizes, *filter(None, [size_reason, compile_reason, schedule_reason, threads_reason])]


def _schedule(config: Config, dataset: Dataset, steps_per_epoch: int) -> tuple[Schedule, str]:
    """Make the schedule; return it, and the reason for the time between evaluations."""
    train, optim, by_curve = config.train, config.optim, config.train.patience == "curve"
    least = auto.affordable_interval(_tiled_pixels(dataset), train.batch_size, config.data.image_size)
    interval, reason = auto.evaluation_interval(train.eval_every, steps_per_epoch, by_curve, least)
    steps, patience = int(train.epochs) * steps_per_epoch, 0 if train.patience == "curve" else int(train.patience)
    return Schedule(steps, train.minutes, interval, patience, optim.lr, optim.warmup, by_curve=by_curve), reason


def _checkpoint_maker(config: Config, accelerator: Accelerator, segmenter: Segmenter) -> Callable[..., Checkpoint]:
    """Make the function that makes a checkpoint from the parts that change as training goes on."""
    settings = redact_all(flatten(config))

    def make_checkpoint(**parts: Any) -> Checkpoint:
        # The number of threads in the environment may change as training goes on.
        environment = numeric_environment(accelerator)
        return Checkpoint(contract=segmenter.contract, environment=environment, config=settings, **parts)

    return make_checkpoint


def _sizes(accelerator: Accelerator, loader: TrainLoader, size: StepSize, images: int) -> str:
    """Say how many of the `images` that train are in a step, and how many at once in a process."""
    in_step = min(size.batch_size, images)
    at_once = min(size.micro_batch_size, math.ceil(in_step / accelerator.num_processes))
    text = f"{at_once} pictures at once on each process, {in_step} in a step"
    if loader.unlabelled_sampler:
        text += f" and {loader.unlabelled_sampler.batch_size} without labels"
    return text


def _tiled_pixels(dataset: Dataset) -> float:
    """Pixels of the tiles of all validation images; 0 where they are resized as a whole."""
    stored, rows = dataset.stored, dataset.split.val
    if not isinstance(stored, FullSize):
        return 0
    axes = ((make_axis(length, stored.view.size, 1) for length in stored.size(row)) for row in rows)
    return sum(math.prod(len(axis.starts) * axis.side for axis in pair) for pair in axes)


def _threads(config: Config, accelerator: Accelerator) -> AutoThreads:
    """Choice of the number of threads: up to those of the process that has fewest. A collective."""
    own = torch.get_num_threads() if is_chosen(config.train.threads) and accelerator.device.type == "cpu" else 0
    return AutoThreads(
        all_reduce_min(accelerator, own),
        # Whole microseconds, so that all processes compare the same numbers.
        slowest=lambda seconds: -all_reduce_min(accelerator, -round(1e6 * seconds)) / 1e6,
    )


def _step_size(
    config: Config, accelerator: Accelerator, dataset: Dataset, segmenter: Segmenter
) -> tuple[StepSize, str]:
    train = config.train
    whole = StepSize(train.batch_size, train.batch_size, config.data.image_size, int(config.model.width))
    network, images = TrainingNetwork(segmenter), len(dataset.split.train)
    channels = segmenter.contract.input_channels
    count, reason = auto.micro_batch_size(train.micro_batch_size, accelerator, network, images, whole, channels)
    return dataclasses.replace(whole, micro_batch_size=count), reason


def _compiled(
    config: Config, accelerator: Accelerator, dataset: Dataset, segmenter: Segmenter, sides: ImageSides
) -> tuple[bool, str]:
    train = config.train
    flop = sum(training_flop(segmenter.network, side) for side in (sides.small, sides.full)) / 2
    flop *= len(dataset.split.train) * int(train.epochs) / accelerator.num_processes
    flop *= 1 if dataset.unlabelled is None else 1 + PER_LABELLED
    kind = accelerator.device.type, accelerator.mixed_precision
    return auto.compile_network(str(train.compile), *kind, flop, sides.different, train.minutes)


def _loader(
    config: Config, accelerator: Accelerator, dataset: Dataset, size: StepSize, sides: ImageSides, compiled: bool
) -> TrainLoader:
    return TrainLoader(
        dataset.stored,
        dataset.split.train,
        len(dataset.names),
        config.data,
        batch_size=size.batch_size,
        micro_batch_size=size.micro_batch_size,
        seed=config.train.seed,
        sides=sides,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
        pad=compiled,  # a batch of another size would be compiled anew
        pin=accelerator.device.type == "cuda",
        unlabelled=dataset.unlabelled,
    )


def _evaluation(
    config: Config, accelerator: Accelerator, dataset: Dataset, stop_requested: Callable[[], bool]
) -> Callable[[Segmenter], Evaluation]:
    return functools.partial(
        evaluate,
        data=dataset.validation,
        loss=config.loss,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
        all_reduce=lambda own: accelerator.reduce(own, "sum"),
        stop_requested=stop_requested,
    )
