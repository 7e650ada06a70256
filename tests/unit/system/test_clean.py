"""`prepare.py clean`: finished runs lose their checkpoints, after it was said; nothing else is touched."""

import json
from pathlib import Path

import pytest

from trainer import config, prepare
from trainer.system.lock import file_lock
from trainer.system.run_folder import RunFolder, new_run_folder


def make_run(work: Path, state: str, size: int) -> RunFolder:
    folder = new_run_folder(work, "discs", state, tracked=False)
    for name in ("step-1", ".step-2.ab.partial"):
        (folder.checkpoints / name).mkdir()
        (folder.checkpoints / name / "weights").write_bytes(b"x" * size)
    folder.status.write_text(json.dumps({"state": state}))
    return folder


def test_only_what_is_said_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config, "MLRUNS", tmp_path)
    work = tmp_path / "work"
    finished, stopped, busy = (
        make_run(work, *given) for given in (("finished", 1_000_000), ("preempted", 500_000), ("finished", 250_000))
    )
    files = sorted(work.rglob("*"))
    assert prepare.main(["clean"]) == 0
    printed = capsys.readouterr().out
    assert "nothing is removed; --yes removes them" in printed
    assert "3.0 MB  in all" in printed  # 2 x 1.0, one of 0.5, 2 x 0.25
    assert sorted(work.rglob("*")) == files
    lock = file_lock(busy.lock_file)
    with lock:
        assert prepare.main(["clean", "--yes"]) == 0
    assert f"{busy}: a training is using it" in capsys.readouterr().err
    assert list(finished.checkpoints.iterdir()) == []
    assert [path.name for path in stopped.checkpoints.iterdir()] == ["step-1"]
    assert len(list(busy.checkpoints.iterdir())) == 2
    assert {path.name for path in finished.path.iterdir()} >= {"run.json", "status.json", "journal.jsonl"}
    assert prepare.main(["clean", "--yes"]) == 0
    assert list(busy.checkpoints.iterdir()) == []
    assert prepare.main(["clean"]) == 0
    assert "nothing to remove" in capsys.readouterr().out
