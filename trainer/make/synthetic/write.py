"""Writing generated scenes to files, on all cores."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypedDict, Unpack

import trainer
from trainer import InputError
from trainer.data.class_names import CLASS_NAMES_FILE, IGNORED
from trainer.data.image_io import write_jpeg, write_mask
from trainer.data.layouts.labelme import LABELS_FILE
from trainer.data.layouts.labelme_json import make_record
from trainer.data.layouts.voc import IMAGES, MASKS
from trainer.data.value_map import BACKGROUND
from trainer.make.synthetic.scene import check_request, draw_scene
from trainer.system.atomic import new_folder
from trainer.system.cpus import usable_cpus

WORTH_A_WORKER = 20
"""Scenes that take longer to draw than one more Python takes to start."""

ROOT = Path(trainer.__file__).parents[1]
"""The folder to start a worker in: there Python finds this very package."""

Job = tuple[str, str, int, int, Sequence[str]]
"""Common properties of the scenes of a folder: layout (voc or labelme), folder, size, seed, labelled kinds."""


class Options(TypedDict, total=False):
    """Options of `write_voc` and `write_labelme`."""

    size: int
    """Side of the images in pixels, 256 by default."""

    seed: int
    """Seed of all scenes, 0 by default."""

    labelled: Sequence[str]
    """Kinds that get a class each, ("cat",) by default; the rest is background."""

    start: int
    """Number of the first scene, 0 by default."""

    progress: Callable[[int], None] | None
    """Function that is called with the number of scenes done, after each."""


def _write(
    layout: str,
    folder: Path,
    count: int,
    *,
    size: int = 256,
    seed: int = 0,
    labelled: Sequence[str] = ("cat",),
    start: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    check_request(labelled, size)
    if count < 1 or start < 0 or seed < 0:
        raise InputError(f"{count} scenes from {start} of seed {seed}: take a count above 0, no negative number")
    with new_folder(Path(folder)) as partial_folder:
        for name in (IMAGES, MASKS) if layout == "voc" else ():
            (partial_folder / name).mkdir()
        listing, extra = (CLASS_NAMES_FILE, []) if layout == "voc" else (LABELS_FILE, [IGNORED])
        (partial_folder / listing).write_text("\n".join([*extra, BACKGROUND, *labelled]) + "\n", encoding="utf-8")
        job = layout, str(partial_folder), size, seed, labelled
        with closing(_run(job, range(start, start + count))) as written:
            for done, _ in enumerate(written, start=1):
                if progress is not None:
                    progress(done)


def write_voc(folder: Path, count: int, **options: Unpack[Options]) -> None:
    """Write scenes as a VOC folder, which appears when it is complete: images, mask PNGs and class names.

    `JPEGImages/scene_00000.jpg`, uint8 RGB [size, size, 3]; `SegmentationClassPNG/scene_00000.png`, class ids uint8
    [size, size]; `class_names.txt`. Raises InputError where the folder exists already.
    """
    _write("voc", folder, count, **options)


def write_labelme(folder: Path, count: int, **options: Unpack[Options]) -> None:
    """Write the same scenes as Labelme does: `scene_00000.jpg` beside `scene_00000.json`, and `labels.txt`."""
    _write("labelme", folder, count, **options)


def _run(job: Job, indices: range) -> Generator[object, None, None]:
    """Write scenes on as many cores as pay; yields after each."""
    count = min(usable_cpus(), len(indices) // WORTH_A_WORKER)
    if count < 2:
        for index in indices:
            write_scene(*job, index)
            yield index
        return
    # Programs of their own: a fork would copy the locks of the caller's threads, and multiprocessing's spawn would run
    # the caller's main module again. One pipe for all of them: it ends when the last has ended, however it did.
    reading, writing = os.pipe()
    workers: list[subprocess.Popen[bytes]] = []
    # Ctrl-C and the end of a terminal reach all its processes: this one ends the workers, which inherit the mask.
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(reading, "rb", buffering=0) as signs:
        try:
            with open(writing, "wb") as end:
                for part in range(count):
                    share = indices[part::count]
                    text = json.dumps([*job, [share.start, share.stop, share.step]])
                    command = [sys.executable, "-m", "trainer.make.synthetic", text]
                    workers.append(subprocess.Popen(command, stdout=end, cwd=ROOT, env=environment))
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
            yield from iter(lambda: signs.read(1), b"")
            failed = [worker.returncode for worker in workers if worker.wait() != 0]
            if failed:
                raise RuntimeError(f"drawing scenes: a worker stopped with code {failed[0]}; its message is above")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
            for worker in workers:
                worker.kill()
                worker.wait()


def write_scene(layout: str, folder: str, size: int, seed: int, labelled: Sequence[str], index: int) -> None:
    """Draw one scene and write its two files."""
    scene, image = draw_scene(seed, index, size, labelled), f"scene_{index:05d}.jpg"
    if layout == "voc":
        write_jpeg(Path(folder, IMAGES, image), scene.image, quality=92)
        write_mask(Path(folder, MASKS, image).with_suffix(".png"), scene.mask)
        return
    write_jpeg(Path(folder, image), scene.image, quality=92)
    text = json.dumps(make_record(scene.shapes, image, (size, size)), indent=2)
    Path(folder, image).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
