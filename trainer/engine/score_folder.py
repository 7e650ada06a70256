"""Scores of several models on all labelled images of a folder, none of which they need to have validated on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer import InputError
from trainer.config import DataConfig, LossConfig
from trainer.data.dataset import ValidationSet, open_dataset
from trainer.data.sources import Sources, find_sources
from trainer.drawing.sheet import as_png
from trainer.engine.evaluate import EvaluationStopped, evaluate, score_table
from trainer.engine.reporter import watched_panels
from trainer.inference.model import Model
from trainer.model.score_table import ScoreTable
from trainer.system.cpus import usable_cpus
from trainer.system.launcher import given_threads
from trainer.system.parallel import Progress
from trainer.system.text import show


@dataclass(frozen=True)
class FolderScores:
    """Models, and what each has counted on the images of a folder."""

    data: ValidationSet
    models: Mapping[str, Model]
    tables: Mapping[str, ScoreTable]
    notes: tuple[str, ...] = ()
    """What a reader must know of the scores."""

    def draw(self, images: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, bytes]]:
        """Draw what each model makes of some images, by hash and name: -> name of the model -> PNG file of panels."""
        places = {(one.image, one.name): place for place, one in enumerate(next(iter(self.tables.values())).images)}
        return {
            image: {
                name: as_png(watched_panels(model.segmenter, self.data, places[image]))
                for name, model in self.models.items()
            }
            for image in images
        }


def open_labelled(
    roots: Sequence[str], models: Mapping[str, Model], cache: Path, progress: Progress
) -> tuple[ValidationSet, tuple[str, ...]]:
    """Open the labelled images of some folders, all of them, for models by name; return also the K class names.

    Raises InputError where there are none, or where their classes are not those of a model.
    """
    config = DataConfig(root=list(roots), val_fraction=0.5)
    contracts = {name: model.segmenter.contract for name, model in models.items()}
    first = next(iter(contracts.values()))
    sources = find_sources(config)
    if sources.names is None:  # ids alone: they mean what the models have learnt
        sources = find_sources(DataConfig(root=list(roots), val_fraction=0.5, classes=list(first.class_names[1:])))
    for name, contract in contracts.items():
        _require_classes(name, contract.class_names, sources)
    dataset = open_dataset(sources, first.shown, cache, progress)
    rows = range(len(sources.samples))
    return ValidationSet(sources.samples, rows, dataset.stored, sources.values, dataset.levels), dataset.names


def _require_classes(name: str, classes: tuple[str, ...], sources: Sources) -> None:
    names = sources.names or ()
    if names[1:] != classes[1:]:
        given, known = (", ".join(show(one, 60) for one in part[1:]) for part in (names, classes))
        raise InputError(
            f"--data.root {show(sources.title)}: its classes are {given}, and those of {show(name)} are {known}; "
            "give a folder with the same classes in the same order"
        )


def score_on(
    data: ValidationSet,
    class_names: tuple[str, ...],
    models: Mapping[str, Model],
    stop: Callable[[], bool],
    advance: Callable[[], None],
) -> FolderScores:
    """Count what each model finds on each image. `advance` is called after each model.

    Raises KeyboardInterrupt where `stop` turns true.
    """
    torch.set_num_threads(given_threads()[0] or min(torch.get_num_threads(), usable_cpus()))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tables = {}
    for name, model in models.items():
        try:
            evaluation = evaluate(
                model.segmenter.to(device), data, LossConfig(class_weights="none"), stop_requested=stop
            )
        except EvaluationStopped as error:
            raise KeyboardInterrupt from error
        tables[name] = score_table(evaluation, data, class_names, model.origin)
        model.segmenter.to("cpu")
        advance()
    return FolderScores(data, models, tables)
