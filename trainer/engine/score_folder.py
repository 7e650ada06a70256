"""Scores of several models on all labelled images of some folders, on which none of them needs to have validated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.config import DataConfig
from trainer.data.dataset import ValidationSet
from trainer.data.evaluation_set import EvaluationSet, open_evaluation_set, take_rows
from trainer.data.sources import find_sources
from trainer.drawing.sheet import as_png
from trainer.engine.evaluate import EvaluationStopped, score_table
from trainer.engine.evaluation_files import draw_panels
from trainer.engine.score_images import score_images
from trainer.inference.model import Model
from trainer.model.score_table import ScoreTable
from trainer.system.cpus import usable_cpus
from trainer.system.parallel import Progress


@dataclass(frozen=True)
class FolderScores:
    """Models of the same classes, and what each has counted on the images of some folders."""

    images: ValidationSet
    models: Mapping[str, Model]
    tables: Mapping[str, ScoreTable]
    notes: tuple[str, ...] = ()
    """What a reader must know of the scores."""

    def draw(self, images: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, bytes]]:
        """Draw what each model makes of some images, by hash and name: -> name of the model -> PNG file of panels."""
        places = {(one.image, one.name): place for place, one in enumerate(next(iter(self.tables.values())).images)}
        return {
            image: {
                name: as_png(draw_panels(model.segmenter, self.images, places[image]))
                for name, model in self.models.items()
            }
            for image in images
        }


def open_labelled(config: DataConfig, models: Mapping[str, Model], cache: Path, progress: Progress) -> EvaluationSet:
    """Open the labelled images that `config` names, all of them, for models of the same classes by name.

    Raises InputError where there are none, or none of their classes is one of the models.
    """
    sources, rows = take_rows(find_sources(config, validate_all=True), "all")
    contract = next(iter(models.values())).segmenter.contract
    seen = contract.shown, contract.range_of_levels, contract.class_names
    return open_evaluation_set(sources, rows, *seen, cache, progress)


def score_on(
    images: ValidationSet, models: Mapping[str, Model], stop: Callable[[], bool], advance: Callable[[], None]
) -> FolderScores:
    """Count what each model finds on each image. `advance` is called for each image of each model.

    Raises KeyboardInterrupt where `stop` turns true.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tables = {}
    for name, model in models.items():
        segmenter = model.segmenter.to(device)
        try:
            counted = score_images(segmenter, images, usable_cpus(), advance=advance, stop_requested=stop)
        except EvaluationStopped as error:
            raise KeyboardInterrupt from error
        tables[name] = score_table(counted, images, segmenter.contract.class_names, model.origin)
        segmenter.to("cpu")
    return FolderScores(images, models, tables)
