"""Search for the cause when one of several processes fails."""

import json
import socket
import time
import traceback
from dataclasses import asdict, dataclass
from datetime import timedelta
from os import environ

import torch
from accelerate import Accelerator
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from trainer import InputError
from trainer.engine.memory import OutOfMemory
from trainer.engine.stopping import TrainingStopped

REPORT_SECONDS = 5.0
"""Longest wait of a process that lost another one for that one's report, in seconds."""

NETWORK_SIGNS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset", "Timed out")
"""Texts in errors of a process that lost the connection to another one."""


@dataclass(frozen=True)
class Failure:
    """Cause of the end of training, as one process knows it."""

    process: int
    host: str
    reason: str
    """Type of the error and its text, in one line."""

    traceback: str
    lost: bool
    """True if the process lost the connection to another one or was interrupted, so that the cause lies elsewhere."""

    explained: bool
    """True if `reason` is enough for a user, without the traceback."""


def find_cause(accelerator: Accelerator, error: BaseException) -> Failure:
    """Find the cause of the end of training, together with the other processes. Call it in an exception handler.

    Each process writes its own failure into the store through which the processes were connected, which outlives them
    and can be reached from every machine. A process that only lost another one reads the cause there.
    """
    mended_by_user = isinstance(error, InputError)
    own = Failure(
        process=accelerator.process_index,
        host=socket.gethostname(),
        reason=f"{error}" if mended_by_user else f"{type(error).__name__}: {error}",
        traceback=traceback.format_exc(),
        lost=isinstance(error, KeyboardInterrupt) or _from_network(error),
        explained=mended_by_user or isinstance(error, OutOfMemory | TrainingStopped),
    )
    if accelerator.num_processes == 1:
        return own
    try:
        return _find_cause(own, accelerator.num_processes, connect_store())
    except RuntimeError:  # the store is gone too
        return own


def _find_cause(own: Failure, processes: int, store: TCPStore) -> Failure:
    store.set(_key(own.process), json.dumps(asdict(own)))
    if not own.lost:
        return own
    deadline = time.monotonic() + REPORT_SECONDS
    found: dict[int, Failure] = {}
    while len(found) < processes and time.monotonic() < deadline:
        for process in range(processes):
            if process not in found and store.check([_key(process)]):
                found[process] = Failure(**json.loads(store.get(_key(process))))
        origin = next((failure for failure in found.values() if not failure.lost), None)
        if origin is not None:
            text = f"process {origin.process} on {origin.host}: {origin.reason}"
            return Failure(**(asdict(origin) | {"reason": text, "explained": True}))
        time.sleep(0.1)
    missing = [str(process) for process in range(processes) if process not in found]
    if not missing:
        return own
    if "Timed out" in own.reason:
        text = "gave no sign of life within train.timeout_minutes"
    else:
        text = "ended without a word: killed from outside, or by the system because memory ran out"
    return Failure(**(asdict(own) | {"reason": f"process {', '.join(missing)} {text} ({own.reason})"}))


def _from_network(error: BaseException) -> bool:
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in NETWORK_SIGNS)


def connect_store() -> TCPStore:
    """Open a new connection to the store: the one that the collectives use may be blocked."""
    address, port = environ["MASTER_ADDR"], int(environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=False, timeout=timedelta(seconds=REPORT_SECONDS))


def _key(process: int) -> str:
    return f"failed/{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{process}"
