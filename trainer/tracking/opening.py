"""A new run, or one that goes on: its folder, its MLflow run, and what it tells before the first step."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.config import MLRUNS, Config, flatten, to_yaml
from trainer.tracking.run import Run, new_run_folder, versions


def new_folder(config: Config, name: str, data: Mapping[str, Any], report: str) -> Path:
    """A run folder that another start can go on with.

    `data` says what the run is trained and validated with, `report` (JSON) what was found in it.
    """
    folder = new_run_folder(MLRUNS / "work", config.tracking.experiment, name, config.tracking.enabled)
    (folder / "split.json").write_text(json.dumps(data, indent=1, ensure_ascii=False))
    (folder / "check.json").write_text(report, encoding="utf-8")
    (folder / "config.yaml").write_text(to_yaml(config))
    return folder


def open_run(folder: Path, config: Config, new: bool, reachable: bool, say: Callable[[str, str], None]) -> Run:
    """The run of a folder, with its MLflow run where the store is `reachable`.

    Where the store refuses, `say` is told; or InputError is raised where the run may not do without, and a `new` folder
    removed.
    """
    client = None
    if reachable:
        from trainer.tracking.server import open_run as open_on_server

        try:
            client = open_on_server(folder)
        except InputError as error:
            if not config.tracking.required:
                say(f"warning: {error}. Training goes on; sync.py sends the run later", "yellow")
            else:
                if new:
                    shutil.rmtree(folder)
                raise
    return Run(folder, client, config.tracking.enabled)


def introduce(run: Run, config: Config, facts: Mapping[str, Any], title: str, data: Mapping[str, Any]) -> None:
    """Settings, hardware, versions and data. What an earlier start of the run has told stays as it is."""
    run.params(flatten(config) | dict(facts) | versions() | {"data.digest": data["digest"]})
    run.params({"data.train_samples": len(data["train"])})
    for context, part in (("training", "train"), ("validation", "val")):
        run.dataset(title, data["digest"], context, {"samples": len(data[part])})
    for file in ("config.yaml", "split.json", "check.json"):
        run.artifact(run.folder / file)
