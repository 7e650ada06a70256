"""Evaluation at the end of a training: the model that is registered, on its validation images."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from trainer.data.dataset import Dataset
from trainer.engine.calibrate import Calibration
from trainer.engine.evaluate import score_table
from trainer.engine.evaluation_files import draw_figures, draw_galleries, record_results
from trainer.engine.stopping import writing
from trainer.model.scorecard import Scorecard
from trainer.model.segmenter import Segmenter
from trainer.model.training_images import trained_on
from trainer.tracking.run import Run


class FinalEvaluation:
    """Scores of a calibrated model, written into the run folder and recorded; figures are drawn in a thread."""

    def __init__(
        self,
        run: Run,
        step: int,
        calibration: Calibration,
        dataset: Dataset,
        segmenter: Segmenter,
        warn: Callable[[str], None],
    ) -> None:
        """Write and record all but the figures, of the model that is in the run folder already.

        `step`: the last one; `warn` is told what cannot be drawn.

        Raises NotWritten where the disk is full.
        """
        self.run, contract = run, calibration.contract
        known = {"uid": run.uid, "run_id": run.folder.read_run().get("run_id"), "dataset_digest": dataset.digest}
        model = {key: value for key, value in known.items() if value}
        table = score_table(calibration, dataset.validation, contract.class_names, model)
        learnt = trained_on(run.folder.model)
        threshold = contract.threshold if contract.channels == 1 else None
        self.card = Scorecard(table, calibration.tally, threshold, None if learnt is None else frozenset(learnt))
        folder = run.folder.evaluation
        with writing(folder):
            record_results(run, self.card, {"data": dataset.title, "dataset_digest": dataset.digest}, step)
            for file in draw_galleries(folder, self.card, segmenter, dataset.validation):
                run.artifact(file, folder.name)
        self.pool = ThreadPoolExecutor(1, "figures")
        self.drawn = self.pool.submit(draw_figures, folder, self.card, warn)

    def finish(self) -> None:
        """Wait for the figures, and record them. Raises NotWritten where the disk is full."""
        files = self.drawn.result()
        self.pool.shutdown()
        with writing(self.run.folder.journal):
            for file in files:
                self.run.artifact(file, self.run.folder.evaluation.name)
