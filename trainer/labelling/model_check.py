"""Check of labels against a model, `prepare.py check --model`: which ones it disagrees with most, listed and drawn."""

from pathlib import Path

from trainer.config import DataConfig
from trainer.data.checks.report import Report
from trainer.data.sources import find_sources
from trainer.labelling.disagreement import Disagreement, describe, draw_disagreements, rank
from trainer.labelling.pool import use_hardware
from trainer.system.terminal import Display
from trainer.tracking.ancestor import training_images_of
from trainer.tracking.load import load_model


class ModelCheck:
    """Model that labels are compared with."""

    def __init__(self, uri: str) -> None:
        """Load the model. Raises InputError where that is not possible."""
        self.segmenter = load_model(uri).segmenter.eval()
        use_hardware(self.segmenter)
        self.trained = training_images_of(uri)
        """Hashes of the images that trained it; None where they are not known."""

    def find(self, config: DataConfig, report: Report, display: Display) -> list[Disagreement]:
        """Labelled images, those with the largest disagreement first; empty where none can be read."""
        if not report.summary:
            return []
        sources = find_sources(config)
        return rank(self.segmenter, sources.samples, sources.values, sources.names, self.trained, display.progress_bar)

    def show(self, config: DataConfig, found: list[Disagreement], sheet: Path | None, display: Display) -> None:
        """List the disagreements, and draw the largest into `sheet`."""
        for line in describe(found, self.trained is not None):
            display.log(line)
        if sheet is None:
            return
        if not found:
            display.log(f"no picture can be read, so {sheet} is not drawn")
            return
        sources = find_sources(config)
        samples = {sample.name: sample for sample in sources.samples}
        drawn = found, samples, self.segmenter, sources.values, sources.names, sheet, display.progress_bar
        count = draw_disagreements(*drawn)
        display.log(f"{count} of them, the largest first, are in {sheet}: prediction, label, differences, picture")
