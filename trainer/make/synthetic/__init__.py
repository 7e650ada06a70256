"""Generated scenes with cats and their exact masks: a data set for those who have none yet.

A scene is a pure function of (seed, index, size, labelled). Its image and its mask come from the same polygons, and the
mask is drawn from them by Labelme's own rule, so that the mask PNG and the Labelme JSON of a scene are the same thing.

    write.py    the files of the scenes, and the workers that write them (__main__.py is one)
    scene.py    one scene: who is in it and where
    animals.py  animals in their poses; heads.py their heads, coats.py their fur
    things.py   things that lie around; places.py rooms, gardens and the camera
    canvas.py   shaded paint, noise and shadows; curves.py the polygons
"""

from pathlib import Path

from filelock import FileLock

from trainer.make.synthetic.scene import KINDS, Scene, draw_scene
from trainer.make.synthetic.write import write_labelme, write_voc
from trainer.system.parallel import Progress

__all__ = ["KINDS", "Scene", "draw_scene", "generated_cats", "write_labelme", "write_voc"]


def generated_cats(count: int, cache: Path, progress: Progress) -> Path:
    """Folder below `cache` with `count` scenes with cats, drawn now where it is not there yet."""
    folder = cache / f"generated-{count}" / "generated-cats"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            advance = progress("drawing cats", count)
            write_voc(folder, count, progress=lambda _done: advance())
    return folder
