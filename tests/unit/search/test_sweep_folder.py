"""Which sweep a start goes on with, and which run folder is a trial's."""

from dataclasses import replace
from pathlib import Path

import pytest

from trainer import InputError
from trainer.config import Config
from trainer.search.space import Choice, Space
from trainer.search.sweep_folder import Part, SweepFolder, facts_of, find_sweep, require_same, write_record
from trainer.search.trial import write_settings
from trainer.system.atomic import write_json
from trainer.system.run_folder import FOLDS, SWEEP, RunFolder, new_run_folder

DEFAULTS = Config()
SPACE = Space({"model.norm": Choice(("batch", "group"))}, {"model.norm": ["batch", "group"]})
OTHER = Space({"model.norm": Choice(("batch", "group"))}, {"model.norm": ["group", "batch"]})
LR = replace(Config(), optim=replace(Config().optim, lr=0.5))


def make(
    work: Path, name: str, config: Config = DEFAULTS, space: Space = SPACE, state: str = "preempted"
) -> SweepFolder:
    made = new_run_folder(work, "discs", None, tracked=False, kind=SWEEP)
    folder = SweepFolder(RunFolder(made.path.rename(work / name)))
    write_record(folder, name, facts_of(config, space))
    write_json(folder.run.status, {"state": state})
    return folder


def test_the_newest_unfinished_one_of_the_same_settings_and_space(tmp_path: Path) -> None:
    facts = facts_of(Config(), SPACE)
    with pytest.raises(InputError, match=r"there is no sweep in .*; leave --resume out for a new one"):
        find_sweep(tmp_path, facts)
    made = [make(tmp_path, "1"), make(tmp_path, "2"), make(tmp_path, "3", state="finished")]
    make(tmp_path, "4", LR)
    make(tmp_path, "5", space=OTHER)
    new_run_folder(tmp_path, "discs", None, tracked=False, kind=FOLDS)
    assert find_sweep(tmp_path, facts) == made[1]
    write_json(made[0].run.status, {"state": "finished"})
    write_json(made[1].run.status, {"state": "finished"})
    assert find_sweep(tmp_path, facts) == made[2]  # which may be given more trials
    # How and where it is computed and tracked may change.
    moved = replace(Config(), train=replace(Config().train, threads=3), data=replace(Config().data, root="elsewhere"))
    assert find_sweep(tmp_path, facts_of(moved, SPACE)) == made[2]
    assert made[2].participant() != made[1].participant()


def test_what_differs_is_named(tmp_path: Path) -> None:
    make(tmp_path, "1", LR)
    with pytest.raises(InputError, match=r"settings optim.lr: 0.5 then, 0.002 now"):
        find_sweep(tmp_path, facts_of(Config(), SPACE))
    with pytest.raises(
        InputError, match=r"a study: a sweep of other settings \(space model.norm: \['group', 'batch'\]"
    ):
        require_same(facts_of(Config(), SPACE), facts_of(Config(), OTHER), "a study")


def test_a_damaged_record_is_no_sweep_to_go_on_with(tmp_path: Path) -> None:
    folder = make(tmp_path, "1")
    folder.record.write_text("{")
    with pytest.raises(InputError, match="--resume: "):
        find_sweep(tmp_path, facts_of(Config(), SPACE))


def test_trials_have_their_own_run_folders(tmp_path: Path) -> None:
    folder, other = make(tmp_path, "1"), make(tmp_path, "2")
    assert folder.run_of(Part(1)) is None
    made = {
        number: new_run_folder(tmp_path, "discs", f"trial-{number}-lr0.1", tracked=False, parent="1")
        for number in (11, 1, 10)
    }
    new_run_folder(tmp_path, "discs", "trial-1-lr0.1", tracked=False, parent="2")
    assert {number: folder.run_of(Part(number)) for number in (11, 1, 10)} == made
    assert other.run_of(Part(1)) not in made.values()
    write_settings(folder, Part(1), 1, {"model.norm": "group", "optim.lr": 0.012345})
    text = folder.settings(Part(1)).read_text()
    assert "run_name: trial-1-normgroup-lr0.0123" in text
    assert "parent: '1'" in text
    assert "name: null" in text  # it registers nothing
    assert "required: false" in text
    assert "fold" not in text
    write_settings(folder, Part(1, 2), 4, {"model.norm": "group"})
    text = folder.settings(Part(1, 2)).read_text()
    assert "run_name: trial-1-fold2-normgroup" in text
    assert "fold: 2" in text
    assert "val_fraction: 0.25" in text
    fold = new_run_folder(tmp_path, "discs", "trial-1-fold2-normgroup", tracked=False, parent="1")
    assert folder.run_of(Part(1, 2)) == fold
    assert folder.run_of(Part(1, 1)) is None
