"""Evaluation of its own: a model on a set of images, with everything that is counted of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch

from trainer.data.dataset import ValidationSet
from trainer.engine.evaluate import CHUNK, EvaluationStopped
from trainer.engine.outputs import count_image, outputs_of
from trainer.model.image_counts import ImageCounts, Tally, Totals, no_totals, sum_totals
from trainer.model.segmenter import Segmenter
from trainer.system.parallel import read_ahead

NETWORK_BYTES = 2**31
"""Memory that all threads of a process may take in the network together, in bytes; one chunk always goes."""


@dataclass(frozen=True)
class Part:
    """Counts of one process."""

    totals: Totals
    images: dict[int, ImageCounts]
    """Counts by the image's place in the set."""

    stopped: bool = False


def score_images(
    segmenter: Segmenter,
    data: ValidationSet,
    threads: int = 1,
    process: int = 0,
    processes: int = 1,
    gather: Callable[[Part], Sequence[Part]] = lambda own: [own],
    advance: Callable[[], Any] = lambda: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Tally:
    """Count what `segmenter` predicts of each image, as its contract says. All `processes` call this, and get the same.

    Each process takes every n-th chunk, in `threads` threads that compute alone: torch's own threads share the work of
    one operation, which may change its last bits. So the counts depend neither on the number of processes nor on that
    of threads. `gather` collects the parts of all processes; `advance` is called for each image that is done.
    Raises EvaluationStopped, on all processes, where `stop_requested` turns true on one before it is done.
    """
    segmenter.eval()
    contract = segmenter.contract
    chunk = 1 if contract.view == "tiles" else CHUNK
    starts = range(0, len(data.samples), chunk)[process::processes]
    on_gpu = segmenter.mean.device.type == "cuda"
    most = max(1, NETWORK_BYTES // (chunk * contract.picture_bytes))
    workers = 1 if on_gpu else max(1, min(threads, len(starts), most))

    def work(start: int) -> tuple[int, Totals, list[ImageCounts]]:
        totals = no_totals(len(contract.class_names))
        torch.set_num_threads(1)  # of this thread alone
        outputs = outputs_of(segmenter, data.part(range(start, min(start + chunk, len(data.samples)))))
        with torch.no_grad():
            places = takewhile(lambda _: not stop_requested(), range(len(outputs)))
            return start, totals, [count_image(outputs, place, totals)[0] for place in places]

    own_threads = torch.get_num_threads()
    part = Part(no_totals(len(contract.class_names)), {})
    totals = [part.totals]
    try:
        for start, found, images in read_ahead(iter(starts), work, workers):
            totals.append(found)
            for place, image in enumerate(images, start):
                part.images[place] = image
                advance()
    finally:
        torch.set_num_threads(own_threads)
    classes = len(contract.class_names)
    parts = gather(Part(sum_totals(totals, classes), part.images, stop_requested()))
    if any(one.stopped for one in parts):
        raise EvaluationStopped
    every = {place: image for one in parts for place, image in one.images.items()}
    assert sorted(every) == list(range(len(data.samples))), "an image was not counted, or twice"
    return Tally(sum_totals((one.totals for one in parts), classes), tuple(every[place] for place in sorted(every)))
