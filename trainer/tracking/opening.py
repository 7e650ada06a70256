"""A new run, or one that goes on: its folder, its MLflow run, and what it tells before the first step."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.config import MLRUNS, Config, flatten, to_yaml
from trainer.tracking.run import Run, new_run_folder, versions


def new_folder(config: Config, name: str, data: Mapping[str, Any]) -> Path:
    """A run folder that another start can go on with; `data` says what the run is trained and validated with."""
    folder = new_run_folder(MLRUNS / "work", config.tracking.experiment, name, config.tracking.enabled)
    (folder / "split.json").write_text(json.dumps(data, indent=1, ensure_ascii=False))
    (folder / "config.yaml").write_text(to_yaml(config))
    return folder


def open_run(folder: Path, config: Config, new: bool, reachable: bool) -> Run:
    """The run of a folder, with its MLflow run where the store is `reachable`.

    Raises InputError where the store refuses; a `new` folder is removed then.
    """
    client = None
    if reachable:
        from trainer.tracking.server import open_run as open_on_server

        try:
            client = open_on_server(folder)
        except InputError:
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
    for file in ("config.yaml", "split.json"):
        run.artifact(run.folder / file)
