"""Run folders: number of unsent records, paths after --resume, and whether a run is finished."""

import re
from pathlib import Path

import pytest

from trainer import InputError
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder, new_run_folder, run_folder_of, run_folders
from trainer.tracking.journal import Journal, read_records


@pytest.mark.parametrize("content", [None, "", '{"bytes": 4', '{"bytes": "x"}'])
def test_all_records_are_unsent_without_a_readable_offset(content: str | None, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for step in range(7):
        journal.metrics({"loss": 1.0}, step)
    journal.close()
    if content is not None:
        (tmp_path / "sent.json").write_text(content)
    folder = RunFolder(tmp_path)
    assert (folder.sent_bytes, folder.unsent_records()) == (0, 7)


def test_unsent_records_are_the_complete_ones_after_the_offset(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for step in range(7):
        journal.metrics({"loss": 1.0}, step)
    journal.close()
    for sent, (offset, _) in enumerate(read_records(path, 0), start=1):
        write_json(tmp_path / "sent.json", {"bytes": offset})
        assert RunFolder(tmp_path).unsent_records() == 7 - sent
    with path.open("a") as file:
        file.write('{"time": 1, "met')  # an incomplete line
    assert RunFolder(tmp_path).unsent_records() == 0


def test_run_folder_of_a_path(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path, "cats", "a run", tracked=False)
    with pytest.raises(InputError, match="no run folder"):
        run_folder_of(str(folder))
    folder.config.write_text("{}")
    (folder.checkpoints / "step-3").mkdir()
    assert run_folder_of(str(folder)) == folder
    assert run_folder_of(str(folder.checkpoints / "step-3")) == folder
    assert run_folders(tmp_path) == [folder]
    assert folder.read_run()["uid"] == folder.path.name


def test_no_two_runs_have_one_name(tmp_path: Path) -> None:
    folders = [new_run_folder(tmp_path, "cats", None, False, "cats-256px") for _ in range(5)]
    names = {folder.read_run()["run_name"] for folder in folders}
    assert len(names) == 5
    assert all(re.fullmatch(r"cats-256px-\d{4}-\d{6}-[0-9a-f]{6}", name) for name in names)
    assert new_run_folder(tmp_path, "cats", "mine", False).read_run()["run_name"] == "mine"


@pytest.mark.parametrize(("content", "finished"), [(None, False), ("{", False), ('{"state": "finished"}', True)])
def test_a_run_is_finished_by_its_status(content: str | None, finished: bool, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "status.json").write_text(content)
    assert RunFolder(tmp_path).finished is finished
