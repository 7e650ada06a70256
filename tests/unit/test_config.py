"""Command line and files: one line for every mistake, exit code 2, before torch; a saved file reads back the same."""

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.cli import parse
from trainer.config import REPOSITORY, Config, flatten, to_yaml

BAD_COMMAND_LINES = [
    ("--data.unlabelled ''", ["data.unlabelled", "a folder, auto"]),
    ("--data.unlabelled auto --train.ema 0", ["train.ema", "data.unlabelled"]),
    ("--optim.lrr 1", ["optim.lrr: no such key", "optim.lr?"]),
    ("--lr 0.1", ["lr: no such key", "optim.lr?"]),
    ("--epochs 3", ["epochs: no such key", "train.epochs?"]),
    ("--train.epoch 3", ["train.epoch: no such key", "train.epochs?"]),
    ("--train.batchsize 3", ["train.batchsize", "train.batch_size?"]),
    ("--zzzzqqq 1", ["zzzzqqq: no such key", "--help"]),
    ("--optim.lr fast", ["optim.lr: 'fast'", "float"]),
    ("--optim.lr nan", ["optim.lr", "float"]),
    ("--optim.lr 0", ["optim.lr: 0.0", "more than 0"]),
    ("--optim.lr", ["optim.lr", "expected one argument"]),
    ("--optim.warmup 2", ["optim.warmup: 2.0", "from 0 to 1"]),
    ("--optim.weight_decay -1", ["optim.weight_decay: -1", "0 or more"]),
    ("--optim.clip_norm -1", ["optim.clip_norm: -1", "0 or more"]),
    ("--train.epochs 0", ["train.epochs: 0", "1 or more"]),
    ("--train.epochs 2.5", ["train.epochs: '2.5'", "int"]),
    ("--train.batch_size 0", ["train.batch_size: 0", "1 or more"]),
    ("--train.eval_every 0", ["train.eval_every: 0", "1 or more"]),
    ("--train.seed -1", ["train.seed: -1", "0 or more"]),
    ("--train.patience -1", ["train.patience: -1", "0 or more"]),
    ("--train.patience long", ["train.patience: 'long'", "curve"]),
    ("--loss.class_weights some", ["loss.class_weights", "balanced"]),
    ("--data.sampling odd", ["data.sampling: 'odd'", "foreground"]),
    ("--train.threads -1", ["train.threads: -1", "0 or more"]),
    ("--train.micro_batch_size 0", ["train.micro_batch_size: 0", "auto"]),
    ("--train.micro_batch_size some", ["train.micro_batch_size: 'some'", "auto"]),
    ("--train.mixed_precision fp8", ["train.mixed_precision: 'fp8'", "bf16"]),
    ("--train.mixed_precision true", ["train.mixed_precision: True", "bf16"]),
    ("--train.compile maybe", ["train.compile: 'maybe'", "auto"]),
    ("--data.image_size 100", ["data.image_size: 100", "multiple of 16", "such as 96"]),
    ("--model.depth 5 --data.image_size 48", ["data.image_size: 48", "multiple of 32", "such as 64"]),
    (
        "--data.image_size 80 --model.encoder efficientnet-lite0",
        ["data.image_size: 80", "multiple of 32", "such as 64"],
    ),
    ("--model.encoder lite0", ["model.encoder: 'lite0'", "efficientnet-lite0"]),
    ("--optim.encoder_lr 2", ["optim.encoder_lr: 2", "0 to 1"]),
    ("--data.image_size 4", ["data.image_size: 4", "8 to 8192"]),
    ("--data.val_fraction 0.9", ["data.val_fraction: 0.9", "0 to 0.5"]),
    ("--data.val_fraction -0.1", ["data.val_fraction: -0.1", "0 to 0.5"]),
    ("--data.fold 5", ["data.fold: 5", "0 to 4"]),
    ("--data.fold 2 --data.val_fraction 0.5", ["data.fold: 2", "0 to 1"]),
    ("--data.workers -1", ["data.workers: -1", "0 or more"]),
    ("--data.generated_images 1", ["data.generated_images: 1", "2 or more"]),
    ("--data.augment wild", ["data.augment: 'wild'", "strong"]),
    ("--data.drop_last 5", ["data.drop_last: '5'", "bool"]),
    ("--data.root=", ["data.root: ''", "folder"]),
    ("--data.root []", ["data.root: []", "folder"]),
    ("--data.value_map {0:background}", ["data.value_map", "space after each colon"]),
    ("--data.value_map '{abc: cat}'", ["data.value_map: 'abc'", "0 to 255"]),
    ("--data.value_map '{9-3: cat}'", ["data.value_map: '9-3'", "128-255"]),
    ("--data.value_map '{\"#ff\": cat}'", ["data.value_map: '#ff'", "#ff0000"]),
    ("--data.value_map '{255: no}'", ["data.value_map"]),
    ("--data.value_map '[cat]'", ["data.value_map"]),
    ("--data.layout vok", ["data.layout: 'vok'", "voc"]),
    ("--data.classes [cat,cat]", ["data.classes: ['cat', 'cat']", "different names"]),
    ("--data.classes []", ["data.classes: []", "different names"]),
    ("--data.classes cat", ["data.classes: 'cat'", "list"]),
    ("--model.width 12", ["model.width: 12", "multiple of 8"]),
    ("--model.width 0", ["model.width: 0", "multiple of 8"]),
    ("--model.depth 9", ["model.depth: 9", "1 to 7"]),
    ("--model.norm layer", ["model.norm: 'layer'", "group"]),
    ("--loss.reduction mean", ["loss.reduction: 'mean'", "image"]),
    ("--loss.smooth 0", ["loss.smooth: 0.0", "more than 0"]),
    ("--loss.cross_entropy -1", ["loss.cross_entropy: -1", "0 or more"]),
    ("--train.folds 1", ["train.folds: 1", "2 or more, or 0"]),
    ("--train.seeds 0", ["train.seeds: 0", "1 or more"]),
    ("--train.folds 3 --train.only_fold 3", ["train.only_fold: 3", "0 to 2"]),
    ("--train.only_fold 1", ["train.only_fold: 1", "train.folds"]),
    ("--train.folds 3 --data.fold 1", ["data.fold: 1", "--train.only_fold 1"]),
    ("--train.folds 3 --data.val_fraction 0.1", ["data.val_fraction: 0.1", "without train.folds"]),
    ("--train.final all", ["train.final: 'all'", "train.folds or train.seeds"]),
    ("--train.final last", ["train.final: 'last'", "best"]),
    ("--train.seeds 2 --tracking.parent x", ["tracking.parent: 'x'", "no train.folds"]),
    ("--tracking.parent 'a b/c d'", ["tracking.parent: 'a b/c d'", "uid or the run folder"]),
    ("--tracking.watch -1", ["tracking.watch: -1", "0 or more"]),
    ("--tracking.experiment=", ["tracking.experiment: ''", "a name"]),
    ("--tracking.enabled perhaps", ["tracking.enabled: 'perhaps'", "bool"]),
    ("--registry.name a/b", ["registry.name: 'a/b'", "without / or :"]),
    ("--registry.promote maybe", ["registry.promote: 'maybe'", "never"]),
    ("--registry.margin -0.1", ["registry.margin: -0.1", "0 or more"]),
    ("--registry.max_class_drop 2", ["registry.max_class_drop: 2", "0 to 1"]),
    ("--config /no/such/file.yaml", ["/no/such/file.yaml", "not exist"]),
    ("--train.checkpoint_minutes -1", ["train.checkpoint_minutes: -1", "0 or more"]),
    ("--resume never/was", ["resume: never/was", "no run folder"]),
    ("--resume=mlruns", ["resume: mlruns", "no run folder"]),
    ("--resume", ["resume", "expected one argument"]),
    ("--resum latest", ["resum", "resume?"]),
    ("stray", ["stray"]),
]
"""Arguments, and parts of the error line."""

BAD_FILES = [
    (b"optim:\n  lrr: 1\n", ["optim.lrr: no such key", "optim.lr?"]),
    (b"optm:\n  lr: 1\n", ["optm.lr: no such key", "optim.lr?"]),
    (b"optim: 5\n", ["optim: 5", "keys with values"]),
    (b"optim: {lr: [\n", ["config"]),
    (b"train:\n  seed: x\n", ["train.seed: 'x'", "int"]),
    (b"- 1\n- 2\n", ["--config", "sections with keys"]),
    (b"# nothing\n", ["--config", "sections with keys"]),
    (b"\xff\xfe\x00", ["config", "UTF-8"]),
]
"""Contents of a settings file, and parts of the error line."""


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Error line of a wrong command line, which must end with code 2."""
    with pytest.raises(SystemExit) as end:
        parse(list(arguments))
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("train.py: ")
    assert printed.err.count("\n") == 1
    return printed.err


def read_yaml(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    return parse(["--config", str(file)])


@pytest.mark.parametrize(("line", "parts"), BAD_COMMAND_LINES, ids=[line for line, _ in BAD_COMMAND_LINES])
def test_wrong_command_line_names_key_and_fix(line: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    message = error_line(capsys, *shlex.split(line))
    for part in parts:
        assert part in message


@pytest.mark.parametrize(("content", "parts"), BAD_FILES, ids=[repr(content) for content, _ in BAD_FILES])
def test_wrong_file_names_key_and_fix(
    content: bytes, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(content)
    message = error_line(capsys, "--config", str(file))
    for part in parts:
        assert part in message


def test_only_the_main_process_prints(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as end:
        parse(["--epochs", "3"])
    assert end.value.code == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments", [["--train.see", "3"], ["--conf", "x.yaml"], ["--train.epoch", "3"], ["--data.im=64"]]
)
def test_no_abbreviations(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such key" in error_line(capsys, *arguments)


def test_defaults() -> None:
    assert parse([]) == Config()


def test_saved_file_reads_back_to_the_same(tmp_path: Path) -> None:
    changes = {
        "data.root": "[one,two]",
        "data.classes": "[cat, Grauer Hund]",
        "data.value_map": "{0: background, 255: cat}",
        "data.fold": "1",
        "train.micro_batch_size": "3",
        "train.mixed_precision": "no",
        "train.compile": "off",
        "optim.lr": "1e-4",
        "registry.name": "null",
        "tracking.run_name": "no",
        "tracking.required": "false",
    }
    config = parse([word for key, value in changes.items() for word in (f"--{key}", value)])
    assert config.data.root == ["one", "two"]
    assert config.data.value_map == {0: "background", 255: "cat"}
    assert config.optim.lr == 1e-4
    assert config.registry.name is None
    assert config.tracking.run_name == "no"
    assert config.train.mixed_precision == "no"
    assert read_yaml(tmp_path, to_yaml(config)) == config
    assert read_yaml(tmp_path, to_yaml(Config())) == Config()


COLOURS = {"#ff0000": "cat", "#000000": "background", "128-254": "dog", 7: "ignore", "other": "nearest"}


def test_every_kind_of_key_in_a_value_map(tmp_path: Path) -> None:
    """On the command line as it is pasted, in a file, and in the file that a run leaves."""
    text = "{'#ff0000': cat, '#000000': background, '128-254': dog, 7: ignore, other: nearest}"
    config = parse(shlex.split(f'--data.value_map "{text}"'))
    assert config.data.value_map == COLOURS
    assert read_yaml(tmp_path, f"data:\n  value_map: {text}\n") == config
    lines = "".join(f"    {key!r}: {name}\n" for key, name in COLOURS.items())
    assert read_yaml(tmp_path, f"data:\n  value_map:\n{lines}") == config
    assert read_yaml(tmp_path, to_yaml(config)) == config


def test_a_wrong_key_is_refused_before_anything_heavy_is_loaded() -> None:
    command = [sys.executable, "-X", "importtime", "trainer/train.py", "--data.value_map", "{9-3: cat}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "train.py: data.value_map: '9-3'" in done.stderr
    assert not re.search(r"\| +(torch|numpy|PIL|mlflow)$", done.stderr, re.MULTILINE)


def test_bare_no_on_and_off_in_yaml(tmp_path: Path) -> None:
    config = read_yaml(tmp_path, "train:\n  mixed_precision: no\n  compile: off\n")
    assert (config.train.mixed_precision, config.train.compile) == ("no", "off")
    assert read_yaml(tmp_path, "train:\n  compile: on\n").train.compile == "on"
    assert parse(["--train.compile", "on"]).train.compile == "on"


def test_later_files_and_the_command_line_win(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("train:\n  epochs: 1\n  seed: 1\noptim:\n  lr: 1e-4\n")
    second.write_text("train:\n  epochs: 2\n  batch_size: 2\n")
    config = parse(["--config", str(first), "--config", str(second), "--train.batch_size", "3"])
    assert (config.train.seed, config.train.epochs, config.train.batch_size) == (1, 2, 3)
    assert config.optim.lr == 1e-4


@pytest.mark.parametrize(
    "file",
    sorted(set((REPOSITORY / "configs").glob("*.yaml")) - {REPOSITORY / "configs" / "sweep.yaml"}),  # a space
    ids=lambda file: file.name,
)
def test_every_file_in_configs_is_read(file: Path) -> None:
    assert parse(["--config", str(file)]) != Config()


def test_roots() -> None:
    assert parse([]).data.roots == []
    assert parse(["--data.root", "a"]).data.roots == [Path("a")]
    assert parse(["--data.root", "[a,b]"]).data.roots == [Path("a"), Path("b")]


def test_flatten_has_every_key() -> None:
    flat = flatten(Config())
    assert flat["optim.lr"] == Config().optim.lr
    sections = [section.name for section in dataclasses.fields(Config) if section.name != "resume"]
    assert len(flat) == 1 + sum(len(dataclasses.fields(getattr(Config(), section))) for section in sections)


def test_help_names_every_key_and_loads_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "trainer/train.py", "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    for key in flatten(Config()):
        assert re.search(rf"--{re.escape(key)}\b", done.stdout), key
    assert "Side in pixels of the square" in done.stdout  # the fields' docstrings
    assert not re.search(r"trainer\.config|Union\[|Optional\[|Literal\[|type:", done.stdout), "Python's types"
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "jsonargparse" in loaded  # the list is one
    assert not loaded & {"torch", "mlflow", "numpy", "accelerate", "kornia", "PIL"}
