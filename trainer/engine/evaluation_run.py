"""Evaluation of its own, `evaluate.py`: the model loaded, its masks counted on all processes, its scores made."""

import os
from typing import Any

from accelerate import Accelerator

from trainer import InputError
from trainer.config import MLRUNS
from trainer.data.evaluation_set import EvaluationSet, open_evaluation_set
from trainer.engine.distributed.collectives import broadcast, gather
from trainer.engine.evaluate import score_table
from trainer.engine.evaluation_command import Work
from trainer.engine.evaluation_results import conclude, record
from trainer.engine.score_images import score_images
from trainer.inference.model import Model
from trainer.model.scorecard import Scorecard
from trainer.model.segmenter import Segmenter
from trainer.system.cpus import usable_cpus
from trainer.system.entry import is_main_process
from trainer.tracking.evaluation import Source, check_right, check_store, find_source
from trainer.tracking.load import load_model

CACHE = MLRUNS / "cache"


def evaluate_model(work: Work, accelerator: Accelerator) -> int:
    """Count what the model does on the images, on all processes, and record it; return the exit code. A collective."""
    display, stop = work.display, work.stop
    model, source = load(work)
    segmenter, contract = model.segmenter, model.segmenter.contract
    seen = contract.shown, contract.range_of_levels, contract.class_names
    data = open_evaluation_set(work.sources, work.rows, *seen, CACHE, display.progress_bar)
    for note in data.notes:
        work.warn(note)
    segmenter.to(accelerator.device)
    stop.defer()
    tally = score_images(
        segmenter,
        data.images,
        max(1, usable_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))),
        accelerator.process_index,
        accelerator.num_processes,
        gather,
        display.progress_bar("evaluating", len(work.rows)),
        stop.requested,
    )
    display.close()
    code = 0
    if source is not None:  # the main process
        stop.interrupt_again()
        card = make_card(tally, data, segmenter, source)
        code = conclude(work, card, record(work, card, data, segmenter, source))
    accelerator.wait_for_everyone()
    return code


def load(work: Work) -> tuple[Model, Source | None]:
    """Load the model on all processes, in the version that the main one finds.

    Returns also, on the main process, where it is from. A collective.
    """
    model, source = None, None
    found: tuple[str, InputError | None] | None = None
    if is_main_process():
        try:
            reachable = check_store(work.tracking, work.warn)
            model = load_model(work.options.model)
            source = find_source(model.origin, reachable)
            if reachable:
                source = check_right(work.tracking, source, work.sources.title, work.warn)
            work.display.log("  ".join(f"{key} {value}" for key, value in source.origin.items() if value))
            found = source.uri, None
        except InputError as error:
            found = "", error
    exact, refusal = broadcast(found)
    if refusal is not None:
        raise refusal
    return model or load_model(exact), source


def make_card(tally: Any, data: EvaluationSet, segmenter: Segmenter, source: Source) -> Scorecard:
    """Scores of what was counted."""
    contract = segmenter.contract
    known = {key: source.origin.get(key, "") for key in ("uid", "run_id", "name", "version")}
    model = {key: value for key, value in known.items() if value} | {"dataset_digest": contract.dataset_digest}
    table = score_table(tally, data.images, contract.class_names, model)
    return Scorecard(table, tally, contract.threshold if contract.channels == 1 else None, source.trained_on)
