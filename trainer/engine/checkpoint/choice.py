"""Choice of the run that `resume` stands for, by the files of the run folders: before torch, before any data."""

from pathlib import Path
from typing import Any

from trainer import InputError, redact_all
from trainer.config import Config, flatten
from trainer.system.lock import is_locked
from trainer.system.repair import known_settings
from trainer.system.run_folder import FOLDS, TRAINING, RunFolder, own_runs, read_object, run_folder_of

FREE = (
    *("data.workers", "train.threads", "train.micro_batch_size", "train.compile", "train.checkpoint_minutes"),
    "train.only_fold",
)
"""Settings of how a run is computed and recorded, beside tracking.* and registry.*: these may always change."""

CHANGEABLE = (
    *("resume", "data.root", "data.classes", "data.value_map", "data.val_fraction", "data.fold"),
    *("data.generated_images", "data.unlabelled", "train.final", *FREE),
)
"""Settings that may change when a run is resumed, beside tracking.* and registry.*; the data themselves may not."""

LATEST, LATEST_OR_NEW = "latest", "latest-or-new"
WORDS = ("never", LATEST, LATEST_OR_NEW)
"""Values of `resume` that are not paths."""

RESUMED = (TRAINING, FOLDS)
"""Kinds of runs that training resumes; children are left to those that started them, unless a person names them."""

MOST_RUNS, MOST_DIFFERENCES = 5, 4
"""Number of unfinished runs that an error lists, the newest, and of the differences of each."""


def says_nothing_of_the_training(keys: list[str]) -> bool:
    """Return whether the keys of a command line leave open which training is meant."""
    return all(key in (*FREE, "resume") or key.startswith(("tracking.", "registry.")) for key in keys)


def newest_unfinished(work: Path) -> tuple[RunFolder | None, list[RunFolder]]:
    """Newest unfinished run in `work` whose settings are known, and the newer ones of which they are not."""
    runs = unfinished(work)
    known = next((place for place, one in enumerate(runs) if known_settings(one)), len(runs))
    return (runs[known] if known < len(runs) else None), runs[:known]


def unfinished(work: Path) -> list[RunFolder]:
    """Unfinished runs in `work` that this program resumes by itself, the newest first."""
    return [one for one in reversed(own_runs(work)) if not one.finished and one.kind in RESUMED]


def finished_run(config: Config) -> RunFolder | None:
    """Run folder that `config.resume` names, where that run is finished and `config` has its settings."""
    if config.resume in WORDS:
        return None
    folder = run_folder_of(config.resume)
    return folder if folder.finished and not _setting_differences(config, folder) else None


def differences(config: Config, folder: RunFolder, data: dict[str, Any]) -> list[str]:
    """Differences of settings and data that make a run another training, one line each."""
    return _setting_differences(config, folder) + _data_differences(folder, data)


def _setting_differences(config: Config, folder: RunFolder) -> list[str]:
    theirs = known_settings(folder)
    if not theirs:  # a start was killed while writing them, or they are damaged
        return ["its settings, config.yaml, cannot be read"]
    ours = redact_all(flatten(config))  # as the stored ones are
    keys = [key for key in ours if key not in CHANGEABLE and not key.startswith(("tracking.", "registry."))]
    return [f"{key}: {theirs.get(key)} then, {ours[key]} now" for key in keys if theirs.get(key) != ours[key]]


def _data_differences(folder: RunFolder, data: dict[str, Any]) -> list[str]:
    theirs = folder.read_split()
    if not theirs:  # damaged; the digest is in each checkpoint too, and covers contents and split
        known = (read_object(file).get("dataset_digest") for file in folder.checkpoints.glob("step-*/segmenter.json"))
        digest = next(filter(None, known), None)
        theirs = data if digest == data["digest"] else {"digest": digest}
    if theirs == data:
        return []
    same = theirs.get("digest") == data["digest"]
    change = "the names of the pictures changed" if same else "the pictures, masks, classes or their split changed"
    return [f"data.root: {change} (digest {theirs.get('digest')} then, {data['digest']} now)"]


def lock_chosen(config: Config, folder: RunFolder, work: Path) -> None:
    """Lock the run that `config.resume` stands for; raise InputError with what else can be done where one trains it."""
    try:
        folder.lock()
    except InputError as error:
        if config.resume not in (LATEST, LATEST_OR_NEW):
            raise
        others = [one for one in unfinished(work) if one.path != folder.path and not is_locked(one.lock_file)]
        advice = "there is no other unfinished run; leave --resume out for a new one"
        if others:
            listed = "".join(f"\n  {one}" for one in others[:MOST_RUNS])
            advice = f"to go on with an older one beside it, give --resume and its folder alone:{listed}"
        raise InputError(f"{error}. It is what --resume {config.resume} stands for; {advice}") from error


def nothing_unfinished(work: Path) -> InputError:
    """Error where there is no unfinished run at all."""
    return InputError(f"resume: {LATEST}: there is no unfinished run in {work}; leave --resume out for a new one")


def none_of_these(config: Config, work: Path, data: dict[str, Any]) -> InputError:
    """Error that lists the unfinished runs, with what differs from `config` and `data` in each."""
    runs = unfinished(work)
    if not runs:
        return nothing_unfinished(work)
    lines = [f"resume: {config.resume}: no unfinished run has these settings and this data. There are:"]
    for one in runs[:MOST_RUNS]:
        found = differences(config, one, data)
        more = [f"and {len(found) - MOST_DIFFERENCES} more"] if len(found) > MOST_DIFFERENCES else []
        lines.append(f"  {one}\n    " + "\n    ".join(found[:MOST_DIFFERENCES] + more))
    lines += [f"  and {len(runs) - MOST_RUNS} older ones"] if len(runs) > MOST_RUNS else []
    lines.append("Go on with one of them by --resume and its folder alone; leave --resume out for a new run")
    return InputError("\n".join(lines))
