"""Lives of the trainings of a group: those of any run, below the run of the group."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from trainer import InputError
from trainer.config import MLRUNS, Config
from trainer.engine.folds.plan import Training
from trainer.engine.lifecycle import Lifecycle, moved_root
from trainer.system import launcher
from trainer.system.atomic import why_not_written
from trainer.system.run_folder import RunFolder
from trainer.system.signals import StopSignals
from trainer.tracking import store

if TYPE_CHECKING:  # these load torch, which a mistyped setting must not wait for
    from trainer.data.dataset import Dataset
    from trainer.engine.checkpoint.resume import Start
    from trainer.engine.folds.group import FoldGroup
    from trainer.engine.loop import Trainer


class ChildLifecycle(Lifecycle):
    """Run of one training of a group, of the main process."""

    def __init__(self, config: Config, group: "FoldGroup", training: Training) -> None:
        super().__init__(config, group.display)
        self.group, self.training = group, training
        self.display.header_shown = False
        self.display.log(f"\n{training.name(group.given)}", "bold")

    def check_store(self) -> None:
        """Find out whether the tracking store answers; only the group itself needs it to."""
        self.reachable = self.group.reachable
        if self.group.folder is not None:
            self.reachable = store.reachable(replace(self.config.tracking, required=False), self.display.log)

    def show_data(self, dataset: "Dataset") -> None:
        """Print the warnings about the data for the first training, and what trains for each."""
        if self.group.folder is None:
            super().show_data(dataset)
        else:
            train, validate = len(dataset.split.train), len(dataset.split.val)
            self.display.log(f"{train} pictures train, {validate} validate; dataset {dataset.digest}")

    def begin(
        self, config: Config, dataset: "Dataset", hardware: Mapping[str, str], environment: dict[str, str]
    ) -> "Start | None":
        """Open the run of this training below that of its group."""
        from trainer.engine.checkpoint.resume import Start

        try:
            config, self.chosen = self.group.place(config, dataset, self.training)
        except InputError as error:
            return Start(error=error)
        except OSError as error:
            return Start(error=InputError(why_not_written(MLRUNS / "work", error)))
        start = super().begin(config, dataset, hardware, environment)
        if start is not None and not (start.error or start.finished):
            part = "final" if self.training.final else f"{self.training.fold}"
            self.run.tags({"fold": part, "seed": self.training.seed})
        return start

    def _run_title(self, _title: str) -> str:
        """Beginning of the run's name: that of the group, and which training of it this is."""
        part = self.training.name(self.group.config).replace(", ", "-").replace(" ", "")
        return f"{self.group.title}-{part}"

    def _resume_command(self, folder: RunFolder) -> str:
        """Shell command that goes on with the whole group."""
        whole = self.group.folder or folder
        return launcher.resume_command(whole.path, moved_root(self.config, whole))


class FinalLifecycle(ChildLifecycle):
    """Run of the training on all images, which the group registers."""

    def register(self, trainer: "Trainer", dataset: "Dataset", stop: StopSignals) -> None:
        """Save the last weights as the run's model, with the mean calibration of the folds."""
        from trainer.engine.calibrate import describe_training
        from trainer.engine.folds.summary import mean_calibration
        from trainer.engine.registration import training_images
        from trainer.engine.stopping import writing
        from trainer.model.model_folder import save_segmenter
        from trainer.model.training_images import write_training_images

        stop.interrupt_again()
        segmenter, model = trainer.train_step.segmenter, self.run.folder.model
        segmenter.load_state_dict(trainer.best)
        found = describe_training(dataset) | mean_calibration(self.group.contracts())
        segmenter.contract = replace(segmenter.contract, **found)
        segmenter.to("cpu")
        with writing(model):
            save_segmenter(segmenter, model)
            write_training_images(model, training_images(self.run.folder, self.config, dataset))
        self.display.log(f"model of all pictures: {trainer.state.step} steps", "bold")
        stop.defer()
