"""Fixtures of the engine tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.training import Recorder, prepare
from trainer.engine.distributed.accelerator import join_processes
from trainer.engine.loop import Trainer

SMALL = ["--model.width", "8", "--model.depth", "2", "--data.image_size", "32", "--train.batch_size", "4"]


@pytest.fixture
def make_trainer(tmp_path: Path, make_voc: Callable[..., Path]) -> Callable[..., Trainer]:
    """Make a Trainer over ten samples, eight of which train."""

    def make(*arguments: str, lag: int = 0, callback: Recorder | None = None, pad: bool = False) -> Trainer:
        root = tmp_path / "voc"
        if not root.is_dir():
            make_voc(*(f"p{number}" for number in range(10)))
        settings = ["--data.root", str(root), "--train.mixed_precision", "no", "--data.workers", "0"]
        prepared = prepare([*settings, *SMALL, *arguments], tmp_path)
        trainer = prepared.trainer(join_processes("no", threads=1, timeout_minutes=10), callback)
        trainer.lag, trainer.loader.pad = lag, pad
        return trainer

    return make
