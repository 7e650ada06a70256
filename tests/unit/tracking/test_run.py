"""Handle of a run: records of a start that another one continues."""

from pathlib import Path

import numpy as np

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
