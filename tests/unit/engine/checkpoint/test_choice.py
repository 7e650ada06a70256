"""Choice of the run to resume: finished ones end at once, and an error lists the others with what differs."""

import json
from pathlib import Path

import pytest

from trainer import InputError
from trainer.config import Config, OptimConfig, to_yaml
from trainer.engine.checkpoint import choice
from trainer.system.lock import take_lock
from trainer.system.run_folder import RunFolder, describe_run, new_run_folder

DATA = {"digest": "abc", "train": ["a"], "val": ["b"]}


def make_run(work: Path, state: str, lr: float = 0.01) -> RunFolder:
    folder = new_run_folder(work, "discs", state, tracked=False)
    describe_run(folder, to_yaml(Config(optim=OptimConfig(lr=lr))), DATA, "{}")
    folder.status.write_text(json.dumps({"state": state}))
    return folder


def test_a_finished_run_of_these_settings_leaves_nothing_to_do(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "finished")
    own, other = OptimConfig(lr=0.01), OptimConfig(lr=0.02)
    for path in (folder.path, folder.checkpoint(7)):  # whose checkpoints are removed
        assert choice.finished_run(Config(optim=own, resume=str(path))) == folder
        assert choice.finished_run(Config(optim=other, resume=str(path))) is None
    assert choice.finished_run(Config(optim=own, resume="latest")) is None
    assert choice.finished_run(Config(optim=own, resume=str(make_run(tmp_path, "failed")))) is None


@pytest.mark.parametrize("data", [DATA, DATA | {"digest": "other"}, DATA | {"val": ["c"]}])
def test_the_unfinished_runs_are_listed_with_what_differs(tmp_path: Path, data: dict[str, object]) -> None:
    config = Config(optim=OptimConfig(lr=0.02), resume="latest")
    assert "there is no unfinished run" in str(choice.none_of_these(config, tmp_path, data))
    make_run(tmp_path, "finished")
    folders = [make_run(tmp_path, "failed", 0.03 + number / 100) for number in range(7)]
    text = str(choice.none_of_these(config, tmp_path, data))
    assert sum(str(folder) in text for folder in folders) == choice.MOST_RUNS
    assert text.count("optim.lr: ") == choice.MOST_RUNS
    assert text.count("data.root: ") == (0 if data == DATA else choice.MOST_RUNS)
    assert "and 2 older ones" in text


def test_a_lost_split_is_known_by_the_checkpoints_digest(tmp_path: Path) -> None:
    folder, config = make_run(tmp_path, "failed"), Config(optim=OptimConfig(lr=0.01))
    folder.split.write_text("[")
    assert len(choice.differences(config, folder, DATA)) == 1
    folder.checkpoint(3).mkdir()
    folder.checkpoint(3).joinpath("segmenter.json").write_text(json.dumps({"dataset_digest": "abc"}))
    assert choice.differences(config, folder, DATA) == []
    assert len(choice.differences(config, folder, DATA | {"digest": "other"})) == 1


def test_a_run_that_a_process_trains_is_refused_with_what_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.system.run_folder.LOCK_SECONDS", 0.05)
    older, live = make_run(tmp_path, "failed"), make_run(tmp_path, "running")
    live.status.write_text(json.dumps({"state": "running", "pid": 4711, "host": "elsewhere"}))
    held, older_held = take_lock(live.lock_file), None
    assert held is not None
    try:
        with pytest.raises(InputError, match=r"process 4711 on elsewhere .* stop it there: kill 4711$"):
            choice.lock_chosen(Config(resume=str(live.path)), live, tmp_path)
        with pytest.raises(InputError, match=f"kill 4711. .* older one .*:\n  {older.path}$"):
            choice.lock_chosen(Config(resume="latest"), live, tmp_path)
        older_held = take_lock(older.lock_file)
        with pytest.raises(InputError, match=r"no other unfinished run; leave --resume out for a new one$"):
            choice.lock_chosen(Config(resume="latest"), live, tmp_path)
    finally:
        held.release()
        if older_held is not None:
            older_held.release()
