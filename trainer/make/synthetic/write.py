"""Writing generated scenes to files, on all cores.

`python -m trainer.make.synthetic JOB` is one worker: it writes the scenes of JOB (JSON of `Job`) and prints
a line after each. Workers are programs of their own because a fork would copy the caller's threads' locks, and because
multiprocessing's spawn would run the caller's main module again.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import trainer
from trainer.data.image_io import write_jpeg, write_mask
from trainer.make.synthetic.scene import draw_scene
from trainer.make.synthetic.shapes import BACKGROUND, Scene, rasterise

WORTH_A_WORKER = 20
"""Scenes that take longer to draw than one more Python takes to start."""


@dataclass(frozen=True)
class Job:
    """Scenes to write into `folder`, which has its subfolders already."""

    layout: str
    """voc or labelme."""
    folder: str
    indices: tuple[int, int, int]
    """Start, stop and step of the scenes' numbers."""
    size: int
    seed: int
    labelled: list[str]


def run(job: Job) -> Generator[int, None, None]:
    """Write the scenes of `job`, on as many cores as pay; yields the number done after each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    indices = range(*job.indices)
    count = min(cores, len(indices) // WORTH_A_WORKER)
    if count < 2:
        for done, index in enumerate(indices, start=1):
            write_scene(job, index)
            yield done
    else:
        hands = [indices[part::count] for part in range(count)]
        yield from _run_workers([replace(job, indices=(hand.start, hand.stop, hand.step)) for hand in hands])


def _run_workers(jobs: list[Job]) -> Generator[int, None, None]:
    paths = [str(Path(trainer.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    events: queue.Queue[bool] = queue.Queue()
    workers: list[subprocess.Popen[str]] = []
    try:
        for job in jobs:
            command = [sys.executable, "-m", "trainer.make.synthetic", json.dumps(asdict(job))]
            workers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
            threading.Thread(target=_listen, args=(workers[-1], events), daemon=True).start()
        running, done = len(workers), 0
        while running:
            if events.get():
                done += 1
                yield done
            else:
                running -= 1
        failed = [worker.wait() for worker in workers if worker.wait() != 0]
        if failed:
            raise RuntimeError(f"drawing scenes: a worker stopped with code {failed[0]}; its message is above")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _listen(worker: "subprocess.Popen[str]", events: "queue.Queue[bool]") -> None:
    """Put True for each scene the worker reports, False when it has ended."""
    assert worker.stdout is not None
    for _ in worker.stdout:
        events.put(True)
    events.put(False)


def write_scene(job: Job, index: int) -> None:
    """Draw one scene and write its two files."""
    folder, stem = Path(job.folder), f"scene_{index:05d}"
    scene = draw_scene(job.seed, index, job.size, job.labelled)
    if job.layout == "voc":
        mask = rasterise(scene.shapes, [BACKGROUND, *job.labelled], (job.size, job.size))
        write_jpeg(folder / "JPEGImages" / f"{stem}.jpg", scene.image, quality=92)
        write_mask(folder / "SegmentationClassPNG" / f"{stem}.png", mask)
    else:
        write_jpeg(folder / f"{stem}.jpg", scene.image, quality=92)
        text = json.dumps(_annotation(scene, f"{stem}.jpg"), indent=2)
        (folder / f"{stem}.json").write_text(text + "\n", encoding="utf-8")


def _annotation(scene: Scene, image_path: str) -> dict[str, object]:
    """The content of a Labelme 5 file."""
    shapes: list[dict[str, object]] = [
        {
            "label": shape.label,
            "points": [list(point) for point in shape.points],
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for shape in scene.shapes
    ]
    height, width = scene.image.shape[:2]
    size = {"imageHeight": height, "imageWidth": width}
    return {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image_path, "imageData": None, **size}
