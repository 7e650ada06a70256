"""Assembly of a training: from settings and data to a model, and from these to a finished Trainer."""

import functools
from collections.abc import Callable

from accelerate import Accelerator

from trainer.config import Config, flatten
from trainer.data.dataset import Dataset
from trainer.data.loader import Augmentation, TrainLoader, image_sides
from trainer.engine import auto
from trainer.engine.callback import Callback, NullCallback
from trainer.engine.checkpoint.format import Checkpoint
from trainer.engine.distributed.accelerator import numeric_environment
from trainer.engine.evaluate import evaluate
from trainer.engine.loop import Trainer
from trainer.engine.memory import StepSize
from trainer.engine.schedule import Schedule
from trainer.engine.step import TrainingNetwork, TrainStep
from trainer.model.build import make_contract, make_segmenter
from trainer.model.flop import training_flop
from trainer.model.segmenter import Segmenter
from trainer.system.provenance import git
from trainer.tracking.load import load_model


def prepare_model(config: Config, dataset: Dataset) -> tuple[Config, Segmenter, list[str]]:
    """Resolve what the data decides, and make the model that training starts with.

    Returns the resolved settings, the model, and the reasons for people. Raises InputError where the settings do not
    fit the data, or model.init cannot be read or is of another shape.
    """
    init = load_model(config.model.init).segmenter if config.model.init is not None else None
    pixels = dataset.pixels().tolist()
    config, reasons = auto.resolve(config, len(dataset.split.train), pixels, init.contract.width if init else None)
    contract = make_contract(
        config.model, config.data.image_size, dataset.names, dataset.digest, commit=git("rev-parse", "HEAD")
    )
    segmenter = make_segmenter(contract, dataset.shares(), config.train.seed, init, config.model.init)
    return config, segmenter, reasons


def build_trainer(
    config: Config,
    accelerator: Accelerator,
    dataset: Dataset,
    segmenter: Segmenter,
    callback: Callback | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> tuple[Trainer, list[str]]:
    """Make the Trainer of one process from resolved settings, and the reasons for people. A collective."""
    data, train, optim, device = config.data, config.train, config.optim, accelerator.device.type
    assert train.epochs != "auto" and config.model.width != "auto"  # noqa: PT018
    images, classes = len(dataset.split.train), len(dataset.names)
    process, processes = accelerator.process_index, accelerator.num_processes
    sides = image_sides(data.image_size, config.model.depth, train.progressive)

    segmenter.to(accelerator.device)
    size = StepSize(train.batch_size, train.batch_size, data.image_size, config.model.width)
    network = TrainingNetwork(segmenter)
    micro_batch_size, size_reason = auto.micro_batch_size(train.micro_batch_size, accelerator, network, images, size)
    flop = sum(training_flop(segmenter.network, side) for side in (sides.small, sides.full)) / 2
    flop *= images * train.epochs / processes
    compiled, compile_reason = auto.compile_network(
        str(train.compile), device, accelerator.mixed_precision, flop, sides.different, train.minutes
    )
    loader = TrainLoader(
        dataset.resized,
        dataset.split.train,
        classes,
        data,
        batch_size=train.batch_size,
        micro_batch_size=micro_batch_size,
        seed=train.seed,
        sides=sides,
        process=process,
        processes=processes,
        pad=compiled,  # a batch of another size would be compiled anew
        pin=device == "cuda",
    )
    interval, interval_reason = auto.evaluation_interval(train.eval_every, loader.steps_per_epoch)
    steps = train.epochs * loader.steps_per_epoch
    schedule = Schedule(steps, train.minutes, interval, train.patience, optim.lr, optim.warmup)
    augment = Augmentation(data.augment, train.seed)
    trainer = Trainer(
        TrainStep(accelerator, segmenter, augment, config.loss, optim, train.ema, compiled),
        loader,
        schedule,
        StepSize(micro_batch_size, train.batch_size, data.image_size, config.model.width),
        functools.partial(
            evaluate,
            data=dataset.validation(),
            loss=config.loss,
            process=process,
            processes=processes,
            all_reduce=lambda own: accelerator.reduce(own, "sum"),
            stop_requested=stop_requested,
        ),
        callback or NullCallback(),
        functools.partial(
            Checkpoint,
            contract=segmenter.contract,
            environment=numeric_environment(accelerator),
            config=flatten(config),
        ),
        stop_requested,
    )
    at_once = f"{micro_batch_size} pictures at once on each process, {train.batch_size} in a step"
    return trainer, [at_once, *filter(None, [size_reason, compile_reason, interval_reason])]
