"""Results of a sweep: the table of its trials, charts, and the best settings as a file for --config."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from optuna.trial import FrozenTrial, TrialState

from trainer.config import Config, flatten, nested
from trainer.search.space import Range, Space
from trainer.search.study import Study
from trainer.search.sweep_folder import SweepFolder
from trainer.search.trial import describe
from trainer.system.atomic import write_text
from trainer.system.installation import command
from trainer.system.text import quote
from trainer.tracking.names import NOTE
from trainer.tracking.run import Run
from trainer.tracking.tables import table_json

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}
"""State in Optuna -> word in tables and charts."""

MOST_ROWS = 5
"""Trials in the description of a sweep."""

NOT_IN_BEST = ("resume", "tracking.parent", "tracking.run_name")
"""Settings of one run, which the next one does not take over."""


def rows(study: Study, space: Space) -> list[dict[str, Any]]:
    """Row of the table for each trial: number, state, score, settings, duration in seconds, remark."""
    found = []
    for one in study.trials():
        seconds = round(one.duration.total_seconds(), 1) if one.duration else None
        remark = one.user_attrs.get("stopped", one.user_attrs.get("reason", ""))
        row = {"trial": one.number, "state": STATES.get(one.state, "waiting"), "miou": _score(one)}
        row |= settings_of(one, space)
        found.append(row | {"seconds": seconds, "remark": remark})
    return found


def _score(trial: FrozenTrial) -> float | None:
    """Score of a trial; of a pruned one, what it had by then."""
    return trial.values[0] if trial.state == TrialState.COMPLETE else trial.user_attrs.get("score")


def settings_of(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    """Settings of a trial, by dotted keys; empty where it has none yet."""
    return space.settings(trial.params) if space.entries.keys() <= trial.params.keys() else {}


def write_table(folder: SweepFolder, table: Sequence[Mapping[str, Any]]) -> None:
    """Write the table as CSV, and as JSON in the form of MLflow's tables."""
    columns = list(dict.fromkeys(key for row in table for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in table)
    write_text(folder.table, text.getvalue())
    content = table_json(columns, [[row.get(key) for key in columns] for row in table])
    write_text(folder.table.with_suffix(".json"), content)


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def best_settings(config: Config, found: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted keys that differ from the defaults: those of the sweep, with those of its best trial."""
    defaults = flatten(Config())
    settings = flatten(config) | dict(found)
    chosen = {key: value for key, value in settings.items() if key in found or value != defaults[key]}
    return {key: value for key, value in chosen.items() if key not in NOT_IN_BEST}


def write_best(folder: SweepFolder, config: Config, space: Space, trial: FrozenTrial) -> None:
    """Write the best settings for --config; the first comment says where they are from."""
    settings = best_settings(config, space.settings(trial.params))
    head = f"# Best of sweep {folder.path.name}: trial {trial.number}, best/miou {trial.values[0]:.4f}\n"
    write_text(folder.best, head + yaml.safe_dump(nested(settings), sort_keys=False, allow_unicode=True))


def use_command(folder: SweepFolder) -> str:
    """Command that trains with the best settings."""
    here, file = Path.cwd(), folder.best
    return f"{command('train')} --config {quote(file.relative_to(here) if file.is_relative_to(here) else file)}"


def write_charts(folder: SweepFolder, study: Study, space: Space) -> list[str]:
    """Draw the charts that the trials so far allow; return the names of their files."""
    from trainer.drawing.sweep_charts import Point, draw_history, draw_importance, draw_slices

    points = [
        Point(one.number, _score(one), STATES[one.state], settings)
        for one in study.trials()
        if one.state.is_finished() and (settings := settings_of(one, space))
    ]
    drawn = []
    if points:
        logarithmic = [key for key, entry in space.entries.items() if isinstance(entry, Range) and entry.log]
        draw_history(points, folder.history)
        draw_slices(points, logarithmic, folder.slices)
        drawn += [folder.history.name, folder.slices.name]
    if shares := study.importance():
        draw_importance(shares, folder.importance)
        drawn.append(folder.importance.name)
    return drawn


def record(run: Run, folder: SweepFolder, study: Study, config: Config, space: Space, verdict: str) -> None:
    """Write all of it, and record it with the sweep's run; `verdict`: the best trial against the first one."""
    table, best = rows(study, space), study.best()
    write_table(folder, table)
    files = [folder.table.name, folder.table.with_suffix(".json").name, *write_charts(folder, study, space)]
    tags: dict[str, Any] = {f"sweep.{state}": sum(row["state"] == state for row in table) for state in STATES.values()}
    tags["mlflow.loggedArtifacts"] = json.dumps([{"path": folder.table.with_suffix(".json").name, "type": "table"}])
    if best:
        write_best(folder, config, space, best)
        files.append(folder.best.name)
        tags |= {"sweep.best_trial": best.number, "best.miou": best.values[0]}
    tags[NOTE] = describe_sweep(folder, table, space, best, verdict)
    for name in files:
        run.artifact(folder.path / name)
    run.tags(tags)


def describe_sweep(
    folder: SweepFolder,
    table: Sequence[Mapping[str, Any]],
    space: Space,
    best: FrozenTrial | None,
    verdict: str = "",
) -> str:
    """Markdown for the page of the sweep's run."""
    ended = sum(row["state"] != "unfinished" for row in table)
    lines = [f"Sweep of {', '.join(f'`{key}`' for key in space.entries)}: {ended} trials ended."]
    if best:
        found = describe(space.settings(best.params))
        lines += [f"Best: trial {best.number}, mIoU {best.values[0]:.4f} with {found}.", verdict]
        lines += ["Train with these settings:"]
        lines += [f"```\n{use_command(folder)}\n```", "| trial | state | mIoU | settings |\n|---|---|---|---|"]
        order = sorted((row for row in table if row["state"] == "complete"), key=lambda row: -row["miou"])
        shown = [{key: row[key] for key in space.entries if key in row} for row in order[:MOST_ROWS]]
        lines[-1] += "".join(
            f"\n| {row['trial']} | {row['state']} | {row['miou']:.4f} | {describe(some)} |"
            for row, some in zip(order, shown, strict=False)
        )
    return "\n\n".join(filter(None, lines))
