"""Result of a group of folds and seeds: its scores joined and recorded, its model made and registered."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace

from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.engine.checkpoint.folder import CheckpointFolder
from trainer.engine.ending import FLUSH_SECONDS
from trainer.engine.evaluation_files import write_rows
from trainer.engine.folds import plan
from trainer.engine.folds.note import describe_group
from trainer.engine.folds.plan import Training
from trainer.engine.folds.summary import Member, Summary, summarise
from trainer.engine.registration import Registration
from trainer.engine.stopping import writing
from trainer.model.model_folder import load_segmenter
from trainer.model.score_table import OF_SEEDS, OUT_OF_FOLD, read_table
from trainer.system.atomic import write_text
from trainer.system.run_folder import RunFolder, read_object
from trainer.system.terminal import Display
from trainer.tracking.names import NOTE
from trainer.tracking.run import Run
from trainer.tracking.tables import table_json

TABLE, TABLE_OF_UI = "folds.csv", "folds.json"
"""Artifacts with a row for each training; the second in the form that MLflow's UI shows as a table."""


@dataclass(frozen=True)
class GroupResult:
    """Result of the trainings of a group that are finished."""

    run: Run
    """Run of the group."""

    config: Config
    """Settings of the group."""

    children: Mapping[Training, RunFolder]
    """Trainings of the group, with that on all images where there is one."""

    display: Display

    def record(self) -> Summary:
        """Join the scores of the trainings, and record them: metrics, tables, description."""
        folder, run = self.run.folder, self.run
        members = [member_of(one, self.children[one]) for one in plan.all_trainings(self.config)]
        names = folder.read_split()["train"] if self.config.train.folds else []
        summary = summarise(members, names)
        columns, rows = summary.rows()
        with writing(folder.path):
            folder.evaluation.mkdir(exist_ok=True)
            facts = {**summary.table.model, "uid": run.uid}
            train = self.config.train
            facts |= {OUT_OF_FOLD: f"{train.folds} folds"} if train.folds else {OF_SEEDS: f"{train.seeds} seeds"}
            replace(summary.table, model=facts).write(folder.scores)
            write_text(folder.path / TABLE, summary.csv())
            write_text(folder.path / TABLE_OF_UI, table_json(columns, rows))
            images, images_of_ui = write_rows(folder.evaluation, "images", summary.image_rows())
            for file in (folder.scores, images, images_of_ui):
                run.artifact(file, folder.evaluation.name)
            run.artifact(folder.path / TABLE)
            run.artifact(folder.path / TABLE_OF_UI)
            run.metrics(summary.metrics(), len(members))
            tables = (TABLE_OF_UI, f"{folder.evaluation.name}/{images_of_ui.name}")
            ui = json.dumps([{"path": path, "type": "table"} for path in tables])
            run.tags({"evaluation.digest": summary.table.digest, "mlflow.loggedArtifacts": ui})
            run.tags({"folds.finished": f"{len(members)} of {len(members)}", "best.miou": summary.score.value})
            run.tags({NOTE: self._note(summary)})
        self.display.log(summary.sentence(), "bold")
        return summary

    def register(self, summary: Summary, dataset: Dataset | None, child_config: Config) -> str:
        """Make the model of the group that of its run, and register it.

        `dataset`, `child_config`: data and resolved settings of the last training; None where this start has trained
        none. Returns why the model is not registered, or not compared; empty where it is, or is not to be.
        """
        which, run, name = plan.registered(self.config), self.run, self.config.registry.name
        if which == "none":
            return ""
        training = plan.final_training(self.config)
        if which == "best":
            best = max(summary.members, key=lambda one: (one.miou, -one.seed, -one.fold))
            training = Training(best.seed, best.fold)
        source, model = self.children[training], run.folder.model
        with writing(model):
            shutil.copytree(source.model, model, dirs_exist_ok=True)
        text = "trained on all pictures" if which == "all" else f"{training.name(self.config)}, which validated best"
        self.display.log(f"model: {text}; expected mIoU {summary.score}")
        run.tags({"model.trained_on": text, "model.source": source.path.name})
        if not self.config.tracking.enabled or name is None or dataset is None:
            return ""
        from trainer.tracking.serving_form import export  # mlflow

        segmenter = load_segmenter(model)
        with writing(model):
            export(segmenter, model)
        contract = segmenter.contract
        tags = {"commit": contract.commit, "dataset_digest": contract.dataset_digest, NOTE: self._note(summary)}
        tags |= {"val/miou": f"{summary.score.value}", "val/miou.interval": f"{summary.score}"}
        tags |= {"val/miou.of": f"folds: {summary.sentence()}", "trained_on": text}
        with writing(run.folder.journal):
            run.register(name, tags)
        if not run.flush(FLUSH_SECONDS):
            return run.last_error or "no answer in time"
        # As a training by itself would compare it: on images that are shown as to the models of the folds.
        ours = self.config.data
        data = replace(child_config.data, fold=ours.fold, val_fraction=ours.val_fraction)
        return Registration(run, replace(self.config, data=data, loss=child_config.loss), self.display).promote(dataset)

    def _note(self, summary: Summary) -> str:
        folder = self.run.folder
        return describe_group(self.config, folder.read_split()["digest"], summary, folder.read_run().get("run_id"))


def steps_of(folder: RunFolder) -> int:
    """Number of steps of a finished training."""
    position = read_object(folder.last_checkpoint).get("position")
    known = position.get("step") if isinstance(position, dict) else folder.read_status().get("step")
    return known if isinstance(known, int) else max(CheckpointFolder(folder.checkpoints).steps(), default=1)


def member_of(training: Training, folder: RunFolder) -> Member:
    """Result of a finished training. Raises InputError where its scores cannot be read."""
    position = read_object(folder.last_checkpoint).get("position")
    best = position.get("best_step") if isinstance(position, dict) else None
    table = read_table(folder.scores)
    return Member(training.seed, training.fold, folder.path.name, steps_of(folder), best or 0, table)
