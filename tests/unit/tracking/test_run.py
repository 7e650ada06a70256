"""Handle of a run: records of a start that another one continues."""

from pathlib import Path

import numpy as np
from PIL import Image

from trainer.system.run_folder import new_run_folder
from trainer.tracking.run import Run


def test_an_image_drawn_again_has_the_same_name(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path, "cats", "a run", tracked=False)
    names = []
    for start in (0, 1):
        run = Run(folder, None, tracked=False)
        assert run.has_image("watch/disc", 5) is (start == 1)
        run.image("watch/disc", np.full((40, 60, 3), start, np.uint8), 5)
        assert run.has_image("watch/disc", 5)
        assert not run.has_image("watch/disc", 6)
        run.close()
        names.append(sorted(path.name for path in folder.images.iterdir()))
    assert names[0] == names[1]
    assert len(names[0]) == 2


def test_the_picture_that_the_ui_shows_is_a_square_that_begins_with_it(tmp_path: Path) -> None:
    """MLflow's UI centres it in a square, whose upper left part alone has room in a card."""
    run = Run(new_run_folder(tmp_path, "cats", "a run", tracked=False), None, tracked=False)
    picture = np.random.default_rng(0).integers(0, 256, (4, 16, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    run.image("watch/disc", picture, 0)
    run.close()
    (full,), (small,) = (list(run.folder.images.glob(f"*{suffix}")) for suffix in (".png", ".webp"))
    assert np.array_equal(np.array(Image.open(full)), picture)
    shown = np.array(Image.open(small).convert("RGB"))
    assert shown.shape == (160, 160, 3)
    assert np.abs(shown[5:40:10, 5::10].astype(int) - picture[5::10, 5::10]).mean() < 12
    assert np.abs(shown[50:].astype(int) - 245).max() < 8
