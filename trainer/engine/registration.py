"""Model of a finished training: its best weights calibrated, saved, scored, registered, compared with the champion."""

from contextlib import suppress
from dataclasses import dataclass

from trainer import InputError
from trainer.config import MLRUNS, Config
from trainer.data.dataset import Dataset
from trainer.engine.calibrate import Calibration, calibrate
from trainer.engine.comparison_images import make_scorers
from trainer.engine.ending import FLUSH_SECONDS
from trainer.engine.final_evaluation import FinalEvaluation
from trainer.engine.loop import Trainer
from trainer.engine.stopping import writing
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.segmenter import Segmenter
from trainer.model.training_images import TrainingImages, of_hashes, read_training_images, write_training_images
from trainer.system.installation import command
from trainer.system.run_folder import RunFolder
from trainer.system.terminal import Display
from trainer.system.text import quote
from trainer.tracking.description import describe
from trainer.tracking.names import NOTE
from trainer.tracking.run import Run


def training_images(folder: RunFolder, config: Config, dataset: Dataset) -> TrainingImages:
    """Images that trained the model, as the run folder has them since the run began.

    Where it has not, nobody knows by now what has trained the model of model.init: its alias may have moved.
    """
    with suppress(InputError):  # a damaged file must not take the model from a finished training
        if found := read_training_images(folder.path):
            return found
    own = of_hashes(*dataset.training_hashes())
    return own if config.model.init is None else own.after(None)


@dataclass(frozen=True)
class Registration:
    """Registration of the best weights of a run. `config`: resolved settings."""

    run: Run
    config: Config
    display: Display

    def register(self, trainer: Trainer, dataset: Dataset) -> str:
        """Calibrate, save, evaluate and register the best weights, and decide about the champion.

        Returns why the model is not registered, or not compared; empty where it is, or is not to be. Raises NotWritten
        where the disk is full.
        """
        state, segmenter, run = trainer.state, trainer.train_step.segmenter, self.run
        segmenter.load_state_dict(trainer.best)
        calibration = calibrate(segmenter, dataset)
        segmenter.to("cpu")
        trainer.callback.on_images(segmenter, calibration.counts, 0, "best")
        not_drawn = trainer.callback.error()
        if not_drawn:
            raise not_drawn
        with writing(run.folder.model):
            save_segmenter(segmenter, run.folder.model)
            write_training_images(run.folder.model, training_images(run.folder, self.config, dataset))
        evaluation = FinalEvaluation(run, state.step, calibration, dataset, segmenter, self._warn)
        interval, commit = evaluation.card.interval, segmenter.contract.commit
        data, run_id = dataset.content(), run.folder.read_run().get("run_id")
        note = describe(self.config, data, dataset.title, calibration.scores.iou, interval, commit, run_id)
        with writing(run.folder.journal):
            run.tags({"best.miou": calibration.scores.miou, "best.step": state.best_step})
            run.metrics(calibration.metrics() | {"best/step": float(state.best_step or 0)}, state.step)
            run.tags({NOTE: note})
        self.display.log(f"best: step {state.best_step}, {evaluation.card.sentence()}", "bold")
        if doubt := evaluation.card.warning():
            self._warn(f"{doubt}; train longer, and look whether the masks fit (prepare.py check, --sheet)")
        self.display.log(calibration.describe())
        tracking, name = self.config.tracking, self.config.registry.name
        if tracking.enabled and name:
            from trainer.tracking.serving_form import export

            with writing(run.folder.model):
                export(load_segmenter(run.folder.model), run.folder.model)
        evaluation.finish()
        return self._send(segmenter, calibration, dataset, note) if tracking.enabled else ""

    def _send(self, segmenter: Segmenter, calibration: Calibration, dataset: Dataset, note: str) -> str:
        """Have the tracking server register the saved model, where it has a name. Returns as `register` does."""
        run, name, contract = self.run, self.config.registry.name, segmenter.contract
        if name:
            tags = {"commit": contract.commit, "dataset_digest": contract.dataset_digest, NOTE: note}
            with writing(run.folder.journal):
                run.register(name, tags | {"val/miou": f"{calibration.scores.miou}"})
        sent = run.flush(FLUSH_SECONDS)
        if not name:
            return ""
        return self.promote(dataset) if sent else run.last_error or "no answer in time"

    def promote(self, dataset: Dataset) -> str:
        """Compare the new version with the champion, and print the outcome. Returns why that failed; empty if not."""
        from trainer.tracking.errors import in_words
        from trainer.tracking.gate import Rules
        from trainer.tracking.promotion import decide
        from trainer.tracking.server import connect

        settings, folder, log = self.config.registry, self.run.folder, self.display.log
        made = folder.read_version()
        model, champion = f"models:/{made['name']}/{made['version']}", f"models:/{made['name']}@champion"
        failed, address = "", model
        try:
            scorers = make_scorers(self.config, dataset, MLRUNS / "cache", self.display.progress_bar)
            rules = Rules(settings.margin, settings.max_class_drop)
            decision = decide(self.run.client or connect(), folder, settings.promote, scorers, rules)
            outcome = "the new champion" if decision.promoted else "not the champion"
            log(f"registered {model}, {outcome}: {decision.reason}", "bold")
            address = champion if decision.promoted else model
        except Exception as error:  # a registry that fails now takes nothing from a finished training
            failed = in_words(error)
            log(f"registered {model}")
        log("use it with")
        log(f"  {command('predict')} --model {quote(address)} --input PICTURES --output OUT")
        return failed

    def _warn(self, text: str) -> None:
        self.display.log(f"warning: {text}", "yellow")
