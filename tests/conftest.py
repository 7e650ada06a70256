"""Fixtures for all tests: folders of labelled images, made on the fly."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import hypothesis
import pytest
import torch
from PIL import Image

from tests.support.data import VocMaker
from tests.support.images import box_mask, smooth_image
from trainer.data.image_io import write_mask
from trainer.model.segmenter import Contract, Segmenter

# A busy machine takes longer than the 200 ms that Hypothesis allows an example; tests measure no time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Compute on one thread: faster for small tensors, and the number of threads changes float bits."""
    torch.set_num_threads(1)


@pytest.fixture
def make_voc(tmp_path: Path) -> VocMaker:
    """Make a folder with JPEGImages/ and SegmentationClassPNG/ of the named images, each of its own odd size."""

    def make(*stems: str, folder: str = "voc", masks: str = "SegmentationClassPNG", classes: int = 2) -> Path:
        root = tmp_path / folder
        for part in ("JPEGImages", masks):
            (root / part).mkdir(parents=True, exist_ok=True)
        for number, stem in enumerate(stems):
            height, width = 31 + 2 * (number % 5), 43 + 3 * (number % 4)
            Image.fromarray(smooth_image(height, width, number)).save(root / "JPEGImages" / f"{stem}.jpg", quality=95)
            write_mask(root / masks / f"{stem}.png", box_mask(height, width, number, classes))
        return root

    return make


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Database with MLflow's tables, which take seconds to create; to be copied."""
    from mlflow import MlflowClient  # not for tests that need none

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def make_segmenter() -> Callable[..., Segmenter]:
    """Make a small segmenter with random weights, and batch norm statistics that have moved."""

    def make(foreground: int = 1, seed: int = 0, **changes: object) -> Segmenter:
        names = ("_background_", *(f"class {number}" for number in range(1, foreground + 1)))
        colours = tuple((number, 2 * number, 3 * number) for number in range(len(names)))
        facts: dict[str, object] = {"image_size": 32, "width": 8, "depth": 2}
        torch.manual_seed(seed)
        segmenter = Segmenter(Contract(names, colours, **(facts | changes)))  # type: ignore[arg-type]
        segmenter.train()
        with torch.no_grad():
            segmenter(torch.randint(0, 256, (2, 32, 32, segmenter.contract.input_channels), dtype=torch.uint8))
        return segmenter.eval()

    return make


# ------------------------------------------------------------------- the table of faults, at the end of a session


@pytest.fixture
def fault_trial(request: pytest.FixtureRequest) -> Callable[[int, str], AbstractContextManager[None]]:
    """Record whether the checks of a block pass, for the table of faults: `with fault_trial(row, name):`.

    `row` is the number of the promise. Recorded with the test's report, which reaches the table from any worker.
    """

    @contextmanager
    def trial(row: int, name: str) -> Iterator[None]:
        survived = False
        try:
            yield
            survived = True
        finally:
            request.node.user_properties.append(("fault", (row, name, survived)))

    return trial


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    faults: dict[tuple[int, str], list[bool]] = {}
    for report in (one for reports in terminalreporter.stats.values() for one in reports):
        if getattr(report, "when", None) == "teardown":  # the last report of a test has everything
            for key, value in report.user_properties:
                if key == "fault":
                    row, name, survived = value
                    faults.setdefault((row, name), []).append(survived)
    if not faults:
        return
    terminalreporter.section("faults")
    width = max(len(name) for _, name in faults)
    terminalreporter.write_line(f"{'row':>4}  {'fault':{width}}  trials  survived")
    for (row, name), trials in sorted(faults.items()):
        terminalreporter.write_line(f"{row:>4}  {name:{width}}  {len(trials):6}  {sum(trials):8}")
