"""Description of a run and of the model that it registers, in Markdown: MLflow's pages show it."""

from collections.abc import Mapping
from typing import Any

from trainer import printable, redact
from trainer.config import Config
from trainer.system.text import one_line, quote, shorten
from trainer.tracking.run import changed_settings, model_text

MOST_CLASSES, LONGEST = 12, 60
"""Classes that are listed, and bytes of a name or a value."""

MOST_CHARACTERS = 5000
"""Characters of a description that MLflow's databases take."""


def describe(
    config: Config, data: Mapping[str, Any], title: str, iou: Mapping[str, float], miou: float | None, commit: str
) -> str:
    """Describe a finished training.

    `config`: resolved settings; `data`: digest, and the names that train and validate; `title`: name of the dataset;
    `iou`: of each class, and `miou` their mean, on the validation images by the model that is registered.
    """
    listed = ", ".join(f"{_short(name)} {value:.3f}" for name, value in list(iou.items())[:MOST_CLASSES])
    more = f" and {len(iou) - MOST_CLASSES} more" if len(iou) > MOST_CLASSES else ""
    changed = [f"`{key} {_value(config, key)}`" for key in changed_settings(config)]
    model = quote(f"models:/{config.registry.name}@champion") if config.registry.name else "RUN_FOLDER/model"
    lines = [
        f"**{model_text(config)}**, width {config.model.width}, {config.data.image_size} pixels, "
        f"{'in tiles' if config.data.view == 'tiles' else 'resized'}",
        f"**Data** {_short(title)}: {len(data['train'])} pictures train, {len(data['val'])} validate; "
        f"digest `{data['digest']}`",
        f"**mIoU** {'unknown' if miou is None else f'{miou:.4f}'} on the {len(data['val'])} validation pictures "
        f"({listed}{more})",
        f"**Settings** {', '.join(changed) or 'the defaults'}; all are in the artifact `config.yaml`",
        f"**Again** at commit `{commit[:12] or 'unknown'}`, with that file:\n\n"
        "    python trainer/train.py --config config.yaml",
        f"**Use**\n\n    python trainer/predict.py --model {model} --input PICTURES --output OUT",
    ]
    return printable(redact("\n\n".join(lines)))[:MOST_CHARACTERS]


def describe_group(config: Config, digest: str, result: str, table: str) -> str:
    """Describe folds and seeds that have ended.

    `config`: settings of the group; `digest`: of its data; `result`: the score in a sentence; `table`: CSV with a row
    for each training.
    """
    head, *rows = [line.replace(",", " | ") for line in table.splitlines()]
    name = config.registry.name
    model = quote(f"models:/{name}@champion") if name else "RUN_FOLDER/model"
    lines = [
        f"**{result}**",
        f"**Data** digest `{digest}`; {config.train.folds or 'no'} folds, {config.train.seeds} seeds",
        "\n".join([f"| {head} |", "|---" * (head.count("|") + 1) + "|", *(f"| {row} |" for row in rows)]),
        "**Again** with the artifact `config.yaml`:\n\n    python trainer/train.py --config config.yaml",
        f"**Use**\n\n    python trainer/predict.py --model {model} --input PICTURES --output OUT",
    ]
    return printable(redact("\n\n".join(lines)))[:MOST_CHARACTERS]


def _value(config: Config, key: str) -> str:
    section, _, name = key.partition(".")
    return _short(f"{getattr(getattr(config, section), name)}")


def _short(text: str) -> str:
    return shorten(one_line(redact(text)), LONGEST)
