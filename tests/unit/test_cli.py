"""`--resume` on the command line of train.py: whose settings are meant."""

import json
from pathlib import Path

import pytest
import yaml

from trainer import cli
from trainer.config import Config, to_yaml
from trainer.system.run_folder import RunFolder, describe_run, new_run_folder

DATA = {"digest": "abc", "train": ["a"], "val": ["b"]}


def make_run(work: Path, lr: float, state: str) -> RunFolder:
    folder = new_run_folder(work, "discs", f"{lr}", tracked=True, store="")
    sections = yaml.safe_load(to_yaml(Config()))
    sections["optim"]["lr"] = lr
    describe_run(folder, yaml.safe_dump(sections), DATA, "{}")
    folder.status.write_text(json.dumps({"state": state}))
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cli, "MLRUNS", tmp_path)
    return tmp_path / "work"


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        cli.parse(list(arguments))
    assert end.value.code == 2
    return capsys.readouterr().err


def named(folder: RunFolder, name: str) -> RunFolder:
    """Rename a run folder: runs are ordered by the time in their names, which is in seconds."""
    return RunFolder(folder.path.rename(folder.path.with_name(name)))


def test_latest_alone_has_the_settings_of_the_newest_unfinished_run(work: Path) -> None:
    named(make_run(work, 0.01, "failed"), "1")
    named(make_run(work, 0.02, "preempted"), "2")
    named(make_run(work, 0.03, "finished"), "3")
    for word in ("latest", "latest-or-new"):
        for more in ([], ["--train.threads", "2"], ["--tracking.required=false"], ["--registry.name", "x"]):
            config = cli.parse(["--resume", word, *more])
            assert (config.optim.lr, config.resume) == (0.02, word)
        assert cli.parse([f"--resume={word}", "--train.threads=2"]).train.threads == 2
        # With settings, those are meant, whatever the runs had.
        assert cli.parse(["--resume", word, "--data.root", "somewhere"]).optim.lr == Config().optim.lr


def test_a_mistyped_setting_is_an_error(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(work, 0.02, "preempted")
    assert "did you mean optim.lr?" in error(capsys, "--resume", "latest", "--optim.l", "1")
    assert "did you mean tracking.required?" in error(capsys, "--resume", "latest", "--tracking.requird", "false")
    assert "give never, latest, latest-or-new or such a folder" in error(capsys, "--resume", "lastest")


def test_without_an_unfinished_run_latest_is_an_error(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert f"there is no unfinished run in {work}" in error(capsys, "--resume", "latest")
        assert cli.parse(["--resume", "latest-or-new"]).optim.lr == Config().optim.lr
        make_run(work, 0.02, "finished")


def test_one_bad_folder_does_not_stop_the_others(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named(make_run(work, 0.02, "preempted"), "1")
    bad = named(make_run(work, 0.03, "failed"), "2")
    bad.config.write_text("data: [")
    for content in ("[]", "5", "{", ""):
        named(make_run(work, 0.04, "failed"), "3").status.write_text(content)
        (work / "3" / "journal.jsonl").write_text('{"time": 1, "status": "FINISHED"}\n')
        assert cli.parse(["--resume", "latest"]).optim.lr == 0.02
        assert capsys.readouterr().err.count(str(bad)) == 1
        (work / "3").rename(work.parent / f"away {len(content)}{content[:1] == '5'}")
    assert "damaged, and no checkpoint has its settings" in error(capsys, "--resume", str(bad))
    bad.checkpoint(7).mkdir()
    flat = {"optim.lr": 0.07, "model.width": 8}
    bad.checkpoint(7).joinpath("position.json").write_text(json.dumps({"config": flat}))
    for wanted in ("latest", str(bad)):
        config = cli.parse(["--resume", wanted])
        assert (config.optim.lr, config.model.width) == (0.07, 8)
