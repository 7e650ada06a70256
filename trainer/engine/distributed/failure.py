"""What several processes have to agree on before they train, and what they say when one of them fails."""

import json
import socket
import time
import traceback
from dataclasses import asdict, dataclass
from datetime import timedelta
from os import environ

import torch
from accelerate import Accelerator

from trainer.engine.memory import OutOfMemory

PATIENCE_S = 5.0
"""How long a process that lost another one waits for that one's last words."""

NETWORK_SIGNS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset", "Timed out")


@dataclass(frozen=True)
class Failure:
    """Why training ended."""

    process: int
    host: str
    reason: str
    """One line: the kind of error and its text."""

    traceback: str
    lost: bool
    """Whether this process only lost another one, or was told to end, and is not where the trouble began."""

    explained: bool
    """Whether `reason` says all that a person needs."""


def find_cause(accelerator: Accelerator, error: BaseException) -> Failure:
    """Why training ended, found out together by the processes that are left. To be called in an exception handler.

    A process that fails writes what it knows into the store through which the processes found each other; it outlives
    them and is reached from every machine. One that merely lost another looks there for the reason.
    """
    own = Failure(
        process=accelerator.process_index,
        host=socket.gethostname(),
        reason=f"{type(error).__name__}: {error}",
        traceback=traceback.format_exc(),
        lost=isinstance(error, KeyboardInterrupt) or _from_network(error),
        explained=isinstance(error, OutOfMemory),
    )
    if accelerator.num_processes == 1:
        return own
    try:
        return _find_cause(own, accelerator.num_processes, _store())
    except RuntimeError:  # the store is gone too
        return own


def _find_cause(own: Failure, processes: int, store: torch.distributed.TCPStore) -> Failure:
    store.set(_key(own.process), json.dumps(asdict(own)))
    if not own.lost:
        return own
    deadline = time.monotonic() + PATIENCE_S
    found: dict[int, Failure] = {}
    while len(found) < processes and time.monotonic() < deadline:
        for process in range(processes):
            if process not in found and store.check([_key(process)]):
                found[process] = Failure(**json.loads(store.get(_key(process))))
        where = next((failure for failure in found.values() if not failure.lost), None)
        if where is not None:
            text = f"process {where.process} on {where.host}: {where.reason}"
            return Failure(**(asdict(where) | {"reason": text, "explained": True}))
        time.sleep(0.1)
    silent = [str(process) for process in range(processes) if process not in found]
    if not silent:
        return own
    if "Timed out" in own.reason:
        text = "gave no sign of life within train.timeout_minutes"
    else:
        text = "ended without a word: killed from outside, or by the system because memory ran out"
    return Failure(**(asdict(own) | {"reason": f"process {', '.join(silent)} {text} ({own.reason})"}))


def _from_network(error: BaseException) -> bool:
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in NETWORK_SIGNS)


def _store() -> torch.distributed.TCPStore:
    """A connection of our own: the one that the collectives use may be waiting."""
    address, port = environ["MASTER_ADDR"], int(environ["MASTER_PORT"])
    return torch.distributed.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=PATIENCE_S))


def _key(process: int) -> str:
    return f"failed/{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{process}"
