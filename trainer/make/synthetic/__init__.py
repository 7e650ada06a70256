"""Generated scenes with cats and their exact masks: a data set for those who have none yet.

A scene is a pure function of (seed, index). Its picture and its mask come from the same polygons, and the mask is drawn
from them by Labelme's own rule, so that the mask PNG and the Labelme JSON of a scene are the same thing.

    files.py    the files of one scene, and the workers that write them (__main__.py is one)
    scene.py    one scene: who is in it and where
    shapes.py   the polygons of a scene, and their mask
    animals.py  animals; poses.py bodies, heads.py and faces.py heads, coats.py fur
    things.py   things that lie around; places.py rooms, gardens and textures behind it all
    canvas.py   curves, noise, shaded paint; light.py shadows and the camera
"""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from filelock import FileLock

from trainer import InputError
from trainer.make.synthetic.scene import KINDS, check_request, draw_scene
from trainer.make.synthetic.shapes import BACKGROUND, Scene, Shape, rasterise
from trainer.make.synthetic.write import Job, run
from trainer.system.parallel import Progress

__all__ = ["BACKGROUND", "KINDS", "Scene", "Shape", "draw_scene", "rasterise", "write_labelme", "write_voc"]


def write_voc(
    folder: Path,
    count: int,
    *,
    size: int = 256,
    seed: int = 0,
    labelled: Sequence[str] = ("cat",),
    start: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write scenes `start` to `start + count - 1` as a dataset folder: images, mask PNGs and class names.

    `JPEGImages/scene_00000.jpg`, `SegmentationClassPNG/scene_00000.png`, `class_names.txt`. `progress(done)` is called
    after each image. The folder appears when it is complete. Raises InputError where it already holds something.
    """
    _write("voc", Path(folder), range(start, start + count), size, seed, labelled, progress)


def write_labelme(
    folder: Path,
    count: int,
    *,
    size: int = 256,
    seed: int = 0,
    labelled: Sequence[str] = ("cat",),
    start: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the same scenes as Labelme leaves them: `scene_00000.jpg` beside `scene_00000.json`, and `labels.txt`.

    Otherwise as `write_voc`.
    """
    _write("labelme", Path(folder), range(start, start + count), size, seed, labelled, progress)


def _write(
    layout: str,
    folder: Path,
    indices: range,
    size: int,
    seed: int,
    labelled: Sequence[str],
    progress: Callable[[int], None] | None,
) -> None:
    """Write all scenes into a hidden folder beside `folder`, then rename it: it is complete or not there."""
    check_request(labelled, size)
    if len(indices) < 1 or indices.start < 0 or seed < 0:
        raise InputError(
            f"scenes {indices.start} to {indices.stop - 1} of seed {seed}: take a count above 0, no negative number"
        )
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: already there; name another folder or remove it")
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name in ("JPEGImages", "SegmentationClassPNG") if layout == "voc" else ("",):
            (partial / name).mkdir(parents=True)
        listing = "class_names.txt" if layout == "voc" else "labels.txt"
        names = [BACKGROUND, *labelled] if layout == "voc" else ["__ignore__", BACKGROUND, *labelled]
        (partial / listing).write_text("\n".join(names) + "\n", encoding="utf-8")
        job = Job(layout, str(partial), (indices.start, indices.stop, 1), size, seed, list(labelled))
        with closing(run(job)) as steps:
            for done in steps:
                if progress is not None:
                    progress(done)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def generated_cats(count: int, cache: Path, progress: Progress) -> Path:
    """Folder below `cache` with `count` scenes with cats, drawn now where it is not there yet."""
    folder = cache / f"generated-{count}" / "generated-cats"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            advance = progress("drawing cats", count)
            write_voc(folder, count, progress=lambda _done: advance())
    return folder
