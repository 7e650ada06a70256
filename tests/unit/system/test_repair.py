"""Repair of run folders: whatever is damaged is named, set aside, and made again from what else is known."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from trainer import InputError
from trainer.config import Config, dotted, flatten, to_yaml
from trainer.system.repair import known_settings, read_settings, repair
from trainer.system.run_folder import RunFolder, describe_run, new_run_folder
from trainer.tracking.journal import Journal

DATA = {"digest": "abc", "train": ["a", "b"], "val": ["c"]}
SETTINGS = flatten(Config()) | {"optim.lr": 0.0125, "tracking.experiment": "discs", "data.value_map": {"0": "cat"}}
DAMAGE: dict[str, Callable[[Path], object]] = {
    "list": lambda path: path.write_text("[]"),
    "empty object": lambda path: path.write_text("{}"),
    "half": lambda path: path.write_text("{"),
    "empty": lambda path: path.write_bytes(b""),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "deep": lambda path: path.write_text("[" * 1200),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "device": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Folder of a run with everything that a training writes, and a checkpoint."""
    made = new_run_folder(tmp_path / "work", "discs", "a run", tracked=True, store="")
    sections: dict[str, dict[str, object]] = yaml.safe_load(to_yaml(Config()))
    sections["optim"]["lr"], sections["tracking"]["experiment"] = 0.0125, "discs"
    sections["data"]["value_map"] = {"0": "cat"}
    describe_run(made, yaml.safe_dump(sections), DATA, "{}")
    journal = Journal(made.journal)
    journal.metrics({"loss": 1.0}, 1)
    journal.append(status="FINISHED")
    journal.close()
    size = made.journal.stat().st_size
    made.sent.write_text(json.dumps({"bytes": size, "values": size}))
    made.version.write_text(json.dumps({"model_id": "m-1", "uploaded": True, "name": "discs", "version": "1"}))
    made.status.write_text(json.dumps({"state": "finished"}))
    made.checkpoint(3).mkdir()
    made.checkpoint(3).joinpath("position.json").write_text(json.dumps({"config": SETTINGS}))
    return made


def test_a_whole_folder_stays_as_it_is(folder: RunFolder) -> None:
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert repair(folder) == []
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    assert read_settings(folder) == known_settings(folder) == SETTINGS


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["status.json", "sent.json", "version.json", "run.json", "split.json", "config.yaml"])
def test_a_damaged_file_is_named_and_made_again(name: str, how: str, folder: RunFolder) -> None:
    whole = folder.read_run()
    DAMAGE[how](folder.path / name)
    said = repair(folder)
    assert any(str(folder.path / name) in sentence for sentence in said)
    assert (folder.path / f"{name}.damaged").exists()
    assert repair(folder) == []
    assert folder.finished
    assert read_settings(folder) == SETTINGS
    again = folder.read_run()
    assert {key: again[key] for key in ("uid", "experiment", "tracked")} == {
        key: whole[key] for key in ("uid", "experiment", "tracked")
    }
    assert abs(again["time"] - whole["time"]) < 2000  # ms
    # Without knowing what the server has, everything is sent again.
    assert folder.unsent_records() == (2 if name in ("sent.json", "version.json") else 0)


def test_numbers_of_sent_bytes_that_cannot_be_are_not_believed(folder: RunFolder) -> None:
    size = folder.journal.stat().st_size
    for wrong in (
        {"bytes": size + 1},
        {"bytes": 5},
        {"bytes": -3},
        {"bytes": "7"},
        {"bytes": size, "values": size + 9},
    ):
        folder.sent.write_text(json.dumps(wrong))
        assert len(repair(folder)) == 1
        assert not folder.sent.exists()
        assert folder.unsent_records() == 2


def test_files_in_the_place_of_folders_and_folders_as_locks(folder: RunFolder) -> None:
    folder.images.write_text("")
    folder.path.joinpath("trainer.lock").mkdir()
    folder.path.joinpath(".sending.lock").mkdir()
    assert [sentence.partition(": ")[0] for sentence in repair(folder)] == [str(folder.images)]
    folder.lock()
    with folder.sending():
        assert folder.path.joinpath("trainer.lock").is_file()


def test_settings_of_no_other_place_are_not_invented(folder: RunFolder) -> None:
    folder.checkpoint(3).joinpath("position.json").write_text("{")
    for content in ("", "data: 5", "data: {root: [", "a: 1"):
        folder.config.write_text(content)
        assert known_settings(folder) == {}
        assert repair(folder) == []
    folder.run.write_text("[]")
    repair(folder)
    with pytest.raises(InputError, match=r"run\.json: damaged"):
        folder.read_run()


def test_the_name_of_the_folder_tells_when_the_run_began(folder: RunFolder) -> None:
    other = RunFolder(folder.path.rename(folder.path.with_name("20240102-030405-abcdef")))
    other.run.unlink()
    assert len(repair(other)) == 1
    assert time.strftime("%Y%m%d-%H%M%S", time.localtime(other.read_run()["time"] / 1000)) == "20240102-030405"
    assert other.read_run()["uid"] == other.path.name
    assert dotted(yaml.safe_load(other.config.read_text()))["optim.lr"] == 0.0125
