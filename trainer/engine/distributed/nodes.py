"""Usage of each machine of a training on several: sampled there by one process, recorded by the main one.

Samples travel through the store that connects the processes, beside the collectives: nobody waits for another machine.
Machines are called nodes here and in the metrics, as in MLflow and in launchers.
"""

import json
import socket
from contextlib import suppress
from os import environ
from pathlib import Path

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from trainer.engine.callback import NullCallback
from trainer.engine.distributed.collectives import gather
from trainer.engine.distributed.failure import connect_store
from trainer.system.usage import Usage


def node_count() -> int:
    """Number of machines, by the launcher."""
    return int(environ.get("GROUP_WORLD_SIZE", "1"))


def node() -> int:
    """Number of this machine; the main process is on 0."""
    return int(environ.get("GROUP_RANK", "0"))


def host_facts() -> dict[str, str]:
    """Host of each node, by key of the run's tags; empty on one machine. A collective."""
    if node_count() == 1:
        return {}
    hosts = dict(sorted(gather((node(), socket.gethostname()))))
    return {"hardware.nodes": ", ".join(f"node_{number} {host}" for number, host in hosts.items())}


class NodeUsage:
    """Samples of this machine, under its name where it is one of several."""

    def __init__(self, folder: Path) -> None:
        """`folder`: on the disk to watch."""
        self.usage = Usage(folder, within=f"node_{node()}/" if node_count() > 1 else "")
        self.others = [number for number in range(node_count()) if number != node()]
        self.store = _store() if self.others else None

    def sample(self) -> dict[str, float]:
        """Metrics of now where a sample is due, with those that the other machines have sent since the one before."""
        own = self.usage.sample()
        if own and self.store is not None:
            with suppress(RuntimeError, ValueError):  # the store is going away; the training says why
                for number in self.others:
                    own |= _take(self.store, number)
        return own

    def send(self) -> None:
        """Send a sample to the main process where one is due."""
        if (own := self.usage.sample()) and self.store is not None:
            with suppress(RuntimeError):
                self.store.set(_key(node()), json.dumps(own))


class NodeCallback(NullCallback):
    """Callback of the first process of another machine than the main process's."""

    def __init__(self, folder: Path) -> None:
        self.usage = NodeUsage(folder)

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Send what the machine uses."""
        self.usage.send()


def other_callback(folder: Path, usage: bool) -> NullCallback:
    """Callback of a process that is not the main one; `usage`: whether it is recorded what machines use."""
    first = environ.get("LOCAL_RANK", "0") == "0"
    return NodeCallback(folder) if usage and first and node_count() > 1 else NullCallback()


def _store() -> TCPStore | None:
    """Open a connection of its own to the store; None where it cannot be reached."""
    with suppress(RuntimeError):
        return connect_store()
    return None


def _take(store: TCPStore, number: int) -> dict[str, float]:
    """Sample of another machine, once; empty where there is none that is new."""
    key = _key(number)
    if not store.check([key]):
        return {}
    sample: dict[str, float] = json.loads(store.get(key))
    store.delete_key(key)
    return sample


def _key(number: int) -> str:
    return f"usage/{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{number}"
