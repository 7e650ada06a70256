"""Journal: appended records are read back, incomplete lines are dropped, a step is recorded once."""

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trainer.tracking.journal import Journal, damaged_records, read_records


def records(path: Path, offset: int = 0) -> list[dict[str, object]]:
    return [record for _, record in read_records(path, offset)]


def test_records_are_read_back_with_their_time(tmp_path: Path) -> None:
    before = time.time_ns() // 1_000_000
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(params={"optim.lr": "0.1", "class": "Kätzchen\n"})
    journal.metrics({"train/loss": 0.1 + 0.2, "val/miou": float("nan")}, 1)
    found = records(tmp_path / "journal.jsonl")  # while the journal is open
    journal.close()
    assert [sorted(record) for record in found] == [["params", "time"], ["metrics", "step", "time"]]
    assert found[0]["params"] == {"optim.lr": "0.1", "class": "Kätzchen\n"}
    assert found[1]["metrics"]["train/loss"] == 0.1 + 0.2  # type: ignore[index]
    assert found[1]["metrics"]["val/miou"] != found[1]["metrics"]["val/miou"]  # type: ignore[index]
    assert all(before <= record["time"] <= time.time_ns() // 1_000_000 for record in found)  # type: ignore[operator]


def test_reading_starts_at_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for number in range(5):
        journal.append(tags={"number": f"ä{number}"})
    entries = list(read_records(path, 0))
    assert entries[-1][0] == path.stat().st_size
    for place, (offset, _) in enumerate(entries):
        assert records(path, offset) == [record for _, record in entries[place + 1 :]]
        assert [end for end, _ in read_records(path, offset)] == [end for end, _ in entries[place + 1 :]]
    journal.append(tags={"number": "5"})
    assert len(records(path, entries[-1][0])) == 1
    journal.close()


@pytest.mark.parametrize("length", [1, 10, -1])
def test_incomplete_last_line_is_dropped(length: int, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.metrics({"loss": 1.0}, 1)
    journal.metrics({"loss": 2.0}, 2)
    journal.close()
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:length])
    assert [record["step"] for record in records(path)] == [1]  # a reader sees complete lines only

    journal = Journal(path)
    assert path.read_bytes() == first
    journal.metrics({"loss": 2.5}, 2)
    journal.close()
    assert [record["metrics"] for record in records(path)] == [{"loss": 1.0}, {"loss": 2.5}]


def test_steps_of_an_earlier_start_are_not_recorded_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for step in (1, 2, 3):
        journal.metrics({"train/loss": float(step)}, step)
    journal.metrics({"val/miou": 0.5}, 2)
    journal.close()
    journal = Journal(path)  # a later start, from the checkpoint at step 1
    for step in (2, 3, 4):
        journal.metrics({"train/loss": -1.0, "val/miou": -1.0}, step)
    journal.metrics({"train/loss": -2.0}, 4)
    journal.close()
    assert [(record["step"], record["metrics"]) for record in records(path)] == [
        (1, {"train/loss": 1.0}),
        (2, {"train/loss": 2.0}),
        (3, {"train/loss": 3.0}),
        (2, {"val/miou": 0.5}),
        (3, {"val/miou": -1.0}),
        (4, {"train/loss": -1.0, "val/miou": -1.0}),
    ]


def test_step_zero_is_recorded_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.metrics({"val/loss": 1.0}, 0)
    journal.metrics({"val/loss": 2.0}, 0)
    journal.metrics({}, 1)
    journal.close()
    assert [record["metrics"] for record in records(path)] == [{"val/loss": 1.0}]


def test_threads_append_whole_records(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)

    def write(name: str) -> None:
        for number in range(50):
            journal.append(tags={name: "x" * 300, "number": str(number)})

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert len(records(path)) == 200


def test_first_value_of_a_param_stays(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.params({"optim.lr": "0.1", "hardware.device": "cpu"})
    journal.close()
    journal = Journal(path)
    journal.params({"optim.lr": "0.1", "hardware.device": "cuda", "hardware.gpus": "1"})
    journal.params({"optim.lr": "0.1"})
    journal.close()
    assert [record["params"] for record in records(path)] == [
        {"optim.lr": "0.1", "hardware.device": "cpu"},
        {"hardware.gpus": "1"},
    ]


APPEND_AND_WAIT = """
import sys, time
from pathlib import Path
from trainer.tracking import journal
journal.FSYNC_SECONDS = 0.5
records = journal.Journal(Path(sys.argv[1]))
for text in ("first", "second"):
    records.append(tags={"text": text})
    time.sleep(1.5)
records.append(tags={"text": "third"})
records.close()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to see the system calls")
def test_fsync_runs_at_an_interval_and_at_the_end(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "journal.jsonl"
    command = ["strace", "-f", "-y", "-e", "trace=write,fsync", "-o", str(trace), sys.executable, "-c", APPEND_AND_WAIT]
    subprocess.run([*command, str(path)], check=True, timeout=120)
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines() if "journal.jsonl" in line]
    # One fsync after each record, none without a new record, and none in the thread that appends.
    assert [call.partition("(")[0] for call in calls] == ["write", "fsync"] * 3
    threads = [line.split()[0] for line in trace.read_text().splitlines() if "journal.jsonl" in line]
    assert threads[0] == threads[2] == threads[4] != threads[1]


def test_empty_journal_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.touch()
    Journal(path).close()
    assert records(path) == []
    assert path.read_bytes() == b""


def test_a_flipped_byte_costs_the_records_it_touches(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for step in (1, 2, 3):
        journal.metrics({"train/loss": step / 4}, step)
    journal.append(params={"a": "b"})
    journal.close()
    content, whole = path.read_bytes(), records(path)
    lengths = [len(line) for line in content.splitlines(keepends=True)]
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 0x80
        path.write_bytes(flipped)
        found = list(read_records(path, 0))
        line = next(number for number in range(4) if place < sum(lengths[: number + 1]))
        kept = [record for number, record in enumerate(whole) if number != line]
        at_end = place + 1 == sum(lengths[: line + 1])
        expected = (whole if line < 3 else whole[:3]) if at_end else kept
        assert [record for _, record in found if record] == expected, place
        assert damaged_records(path) == (0 if at_end else 1)
        assert all(offset == 0 or flipped[offset - 1 : offset] == b"\n" for offset, _ in found)
        Journal(path).close()


@pytest.mark.parametrize(
    "line",
    [
        *("[]", "5", "null", "{}", '{"time": "x", "tags": {}}', '{"time": 1, "metrics": []}'),
        *('{"time": 1, "metrics": {"a": "b"}, "step": 1}', '{"time": 1, "metrics": {"a": 1}}'),
        *('{"time": 1, "artifact": "a"}', '{"time": 1, "model": "a"}', '{"time": 1, "status": 5}', "[" * 100_000),
    ],
)
def test_a_record_of_another_form_is_damaged(line: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    good = '{"time": 1, "tags": {"a": "b"}}'
    path.write_text(f"{good}\n{line}\n{good}\n")
    assert [bool(record) for record in records(path)] == [True, False, True]
    assert damaged_records(path) == 1
