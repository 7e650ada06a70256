"""A service of a small model, without a network, for the tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.serving import InProcess, MakeInProcess
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Segmenter


@pytest.fixture
def make_service(tmp_path: Path, make_segmenter: Callable[..., Segmenter]) -> Iterator[MakeInProcess]:
    """Make a service of a model with `foreground` classes; closed at the end."""
    made: list[InProcess] = []

    def make(foreground: int = 1, changes: dict[str, object] | None = None, **options: object) -> InProcess:
        folder = tmp_path / f"cats {len(made)}" / "model"
        save_segmenter(make_segmenter(foreground, **(changes or {})), folder)
        made.append(InProcess(folder, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()
