"""Description of a run of folds and seeds, and of its model, in Markdown: MLflow's pages show it."""

from typing import TYPE_CHECKING, Any

from trainer import printable, redact
from trainer.config import Config
from trainer.system.text import count_of, one_line, shorten
from trainer.tracking.description import MOST_CHARACTERS, how_to_use

if TYPE_CHECKING:  # loads torch
    from trainer.engine.folds.summary import Summary

MOST_COLUMNS, MOST_ROWS, LONGEST = 12, 20, 40
"""Columns and rows of the table of trainings that are shown, and bytes of a cell."""


def describe_group(config: Config, digest: str, summary: "Summary", run_id: str | None) -> str:
    """Describe folds and seeds that have ended, of the run `run_id`, if a server has given it one yet.

    `config`: settings of the group; `digest`: of its data.
    """
    columns, rows = summary.rows()
    table = [
        columns[:MOST_COLUMNS],
        ["---"] * len(columns[:MOST_COLUMNS]),
        *(row[:MOST_COLUMNS] for row in rows[-MOST_ROWS:]),
    ]
    lines = [
        f"**{summary.sentence()}**",
        f"**Data** digest `{digest}`; {config.train.folds or 'no'} folds, {count_of(config.train.seeds, 'seed')}",
        "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in table),
        "**Again** with the artifact `config.yaml`:\n\n    python trainer/train.py --config config.yaml",
        how_to_use(config.registry.name, run_id),
    ]
    return printable(redact("\n\n".join(lines)))[:MOST_CHARACTERS]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else shorten(one_line(f"{value}"), LONGEST).replace("|", "/")
