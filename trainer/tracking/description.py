"""Description of a run and of the model that it registers, in Markdown: MLflow's pages show it."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer import printable, redact
from trainer.config import Config
from trainer.model.comparison import Interval
from trainer.model.scorecard import Scorecard
from trainer.system.text import join, one_line, quote, shorten
from trainer.tracking.names import USE
from trainer.tracking.run import changed_settings, model_text

MOST_CLASSES, LONGEST = 12, 60
"""Classes that are listed, and bytes of a name or a value."""

MOST_WORST = 5
"""Worst images of an evaluation that are listed."""

MOST_CHARACTERS = 5000
"""Characters of a description that MLflow's databases take."""


def describe(
    config: Config,
    data: Mapping[str, Any],
    title: str,
    iou: Mapping[str, float],
    miou: Interval | None,
    commit: str,
    run_id: str | None,
) -> str:
    """Describe a finished training, of the run `run_id`, if a server has given it one yet.

    `config`: resolved settings; `data`: digest, and the names that train and validate; `title`: name of the dataset;
    `iou`: of each class, and `miou` their mean with its interval, on the validation images by the model that is
    registered; None where no class is in their masks.
    """
    listed = ", ".join(f"{_short(name)} {value:.3f}" for name, value in list(iou.items())[:MOST_CLASSES])
    more = f" and {len(iou) - MOST_CLASSES} more" if len(iou) > MOST_CLASSES else ""
    changed = [f"`{key} {_value(config, key)}`" for key in changed_settings(config)]
    lines = [
        # Lists show the beginning alone, without Markdown.
        f"mIoU {'unknown' if miou is None else miou} on the {len(data['val'])} validation pictures ({listed}{more})",
        f"**{model_text(config)}**, width {config.model.width}, {config.data.image_size} pixels, "
        f"{'in tiles' if config.data.view == 'tiles' else 'resized'}",
        f"**Data** {_short(title)}: {len(data['train'])} pictures train, {len(data['val'])} validate; "
        f"digest `{data['digest']}`",
        f"**Settings** {', '.join(changed) or 'the defaults'}; all are in the artifact `config.yaml`",
        f"**Again** at commit `{commit[:12] or 'unknown'}`, with that file:\n\n"
        "    python trainer/train.py --config config.yaml",
        how_to_use(config.registry.name, run_id),
    ]
    return printable(redact("\n\n".join(lines)))[:MOST_CHARACTERS]


def how_to_use(name: str | None, run_id: str | None) -> str:
    """Command that predicts with the model of the run itself, since the champion of `name` may be another one.

    `run_id`: None where no server has given one yet.
    """
    known = f"runs:/{run_id}/model" if run_id else f"models:/{name}/VERSION"
    in_use = f" this model; the one in use is `{_short(f'models:/{name}@champion')}`" if name else ""
    model = quote(known) if name else "RUN_FOLDER/model"
    return f"**Use**{in_use}\n\n    {USE.format(model=model)}"


def describe_evaluation(card: Scorecard, model: str, title: str, digest: str, roots: Sequence[str]) -> str:
    """Describe an evaluation of the model at the address `model` on the data `title`, in the folders `roots`."""
    listed = ", ".join(f"{_short(name)} {value:.3f}" for name, value in list(card.scores.iou.items())[:MOST_CLASSES])
    trained = card.trained
    known = "not known" if trained is None else f"{trained}"
    rows = [card.images[place] for place in card.order[:MOST_WORST]]
    worst = ", ".join(f"{_short(row['image'])} {row['iou']:.3f}" for row in rows)
    lines = [
        f"**{card.sentence()}** ({listed or 'no class'})",
        f"**Model** `{_short(model)}`",
        f"**Data** {_short(title)}; digest `{digest}`; images that have trained the model: {known}",
        f"**Worst** {worst}; all are in `evaluation/images.json`, and drawn in `evaluation/worst.png`",
        f"**Again**\n\n    python trainer/evaluate.py --model {quote(model)} --data.root {join(roots)}",
    ]
    return printable(redact("\n\n".join(lines)))[:MOST_CHARACTERS]


def _value(config: Config, key: str) -> str:
    section, _, name = key.partition(".")
    return _short(f"{getattr(getattr(config, section), name)}")


def _short(text: str) -> str:
    return shorten(one_line(redact(text)), LONGEST)
