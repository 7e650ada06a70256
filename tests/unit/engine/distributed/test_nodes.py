"""Samples of another machine reach the main process once, through the store, and their loss costs nothing."""

from pathlib import Path

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from trainer.engine.callback import NullCallback
from trainer.engine.distributed.nodes import NodeCallback, NodeUsage, host_facts, other_callback
from trainer.system import usage


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """A store as that of two machines' processes, and samples that are due at once."""
    found = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{found.port}", "GROUP_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(usage, "BEGIN_SECONDS", 0.0)
    monkeypatch.setattr(usage, "SAMPLE_SECONDS", 0.0)
    return found


def on(number: int, monkeypatch: pytest.MonkeyPatch, local: int = 0) -> None:
    """Pretend to be a process of a node; its number among all is the node's, plus its own there."""
    for name, value in {"GROUP_RANK": number, "RANK": number + local, "LOCAL_RANK": local}.items():
        monkeypatch.setenv(name, f"{value}")


def test_a_sample_of_another_machine_is_taken_once(
    store: TCPStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(1, monkeypatch)
    other = other_callback(tmp_path, True)
    assert isinstance(other, NodeCallback)
    on(0, monkeypatch)
    main = NodeUsage(tmp_path)
    assert {name.split("/")[1] for name in main.sample()} == {"node_0"}
    on(1, monkeypatch)
    other.on_step(1, {})
    other.on_step(2, {})
    assert other.usage.store is not None
    other.usage.store.check(["anything"])  # answered once what was sent before it is there
    on(0, monkeypatch)
    both = main.sample()
    assert {name.split("/")[1] for name in both} == {"node_0", "node_1"}
    assert {"system/node_0/process_0_cpu_percentage", "system/node_1/process_1_memory_usage_megabytes"} <= set(both)
    assert {name.split("/")[1] for name in main.sample()} == {"node_0"}


def test_a_store_that_is_gone_takes_nothing_else_along(
    store: TCPStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(0, monkeypatch)
    monkeypatch.setenv("MASTER_PORT", "9")
    monkeypatch.setattr("trainer.engine.distributed.failure.REPORT_SECONDS", 0.2)
    assert "system/node_0/cpu_utilization_percentage" in NodeUsage(tmp_path).sample()
    on(1, monkeypatch)
    NodeUsage(tmp_path).send()


def test_only_the_first_process_of_another_machine_samples(
    store: TCPStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(1, monkeypatch, local=1)
    assert type(other_callback(tmp_path, True)) is NullCallback
    on(1, monkeypatch)
    assert type(other_callback(tmp_path, False)) is NullCallback
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    assert type(other_callback(tmp_path, True)) is NullCallback


def test_one_machine_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUP_WORLD_SIZE", raising=False)
    monkeypatch.setattr(usage, "BEGIN_SECONDS", 0.0)
    assert "system/cpu_utilization_percentage" in NodeUsage(tmp_path).sample()
    assert host_facts() == {}
