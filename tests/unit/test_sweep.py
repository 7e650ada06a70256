"""Wrong command lines of a sweep: one line, exit code 2, nothing begun."""

from pathlib import Path

import pytest

from tests.support.program import Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "program")


def test_mistakes_are_named_before_anything_begins(program: Program) -> None:
    (program.folder / "space.yaml").write_text("optim.lr: {low: 1e-4, high: 1e-2, log: true}\n")
    (program.folder / "bad.yaml").write_text("optim.lrr: [1, 2]\n")
    (program.folder / "tiny.yaml").write_text("model: {norm: grupp}\n")
    usual = ["--space", "space.yaml", "--trials", "2"]
    cases = {
        "optim.l: no such key; did you mean optim.lr?": [*usual, "--optim.l", "1"],
        "model.norm: 'grupp' is not possible": [*usual, "--config", "tiny.yaml"],
        "bad.yaml: optim.lrr: no such key; did you mean optim.lr?": ["--space", "bad.yaml", "--trials", "2"],
        "--space none.yaml: No such file or directory": ["--space", "none.yaml", "--trials", "2"],
        "data.val_fraction: 0 leaves nothing to compare": [*usual, "--data.val_fraction", "0"],
        "train.folds, train.seeds: a sweep trains each trial once": [*usual, "--train.folds", "3"],
        "data.fold: 1 is one of the folds that --folds trains": [*usual, "--folds", "3", "--data.fold", "1"],
        "tracking.parent: belongs to the trials": [*usual, "--tracking.parent", "x"],
        "--resume: there is no sweep in": [*usual, "--resume", "--data.generated_images", "4"],
        "none: no such folder": [*usual, "--data.root", "none"],
        "give postgresql://... or sqlite:///FILE": [
            *(*usual, "--study", "s", "--storage", "mysql://x", "--data.generated_images", "4")
        ],
    }
    ends = program.in_one_process("sweep", cases)
    for error, end in ends.items():
        assert end.returncode == 2, (error, end.output)
        assert error in end.stderr, (error, end.output)
        assert end.stderr.startswith("sweep.py: ")
        assert end.stderr.count("\n") == 1
        assert "Traceback" not in end.output
    assert program.run_folders() == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "the following arguments are required: --space, --trials"),
        (["--space", "s", "--trials", "0"], "argument --trials: '0' is not possible; give 1 or more"),
        (["--space", "s", "--trials", "x"], "argument --trials: 'x' is not possible"),
        (["--space", "s", "--trials", "2", "--jobs", "-1"], "--jobs"),
        (["--space", "s", "--trials", "2", "--minutes", "inf"], "argument --minutes: 'inf' is not possible"),
        (["--space", "s", "--trials", "2", "--pruner", "best"], "argument --pruner: invalid choice: 'best'"),
        (
            ["--space", "s", "--trials", "2", "--pruner", "wilcoxon"],
            "--pruner wilcoxon compares pictures, fold by fold",
        ),
        (["--space", "s", "--trials", "2", "--folds", "3", "--pruner", "hyperband"], "compares single trainings"),
        (["--space", "s", "--trials", "2", "--study", "s"], "--study and --storage belong together; give --storage"),
        (["--space", "s", "--trials", "2", "--storage", "s"], "--study and --storage belong together; give --study"),
    ],
)
def test_wrong_options(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    from trainer.sweep import read_command

    with pytest.raises(SystemExit) as end:
        read_command(words)
    assert end.value.code == 2
    assert error in capsys.readouterr().err


def test_settings_are_left_to_training() -> None:
    from trainer.sweep import read_command

    words = ["--config", "a.yaml", "--space", "s", "--optim.lr=0.1", "--trials", "3", "--data.root", "x y", "--resume"]
    given, settings = read_command(words)
    assert settings == ["--config", "a.yaml", "--optim.lr=0.1", "--data.root", "x y"]
    assert (given.trials, given.jobs, given.resume, given.pruner) == (3, 1, True, "hyperband")
    assert read_command([*words, "--folds", "3"])[0].pruner == "wilcoxon"
