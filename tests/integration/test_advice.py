"""Options and commands that the program prints, pasted into a shell: they do what they say."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.images import smooth_image
from tests.support.labelme import png, record, shape
from tests.support.layouts import save_image, save_mask
from tests.support.program import Program
from trainer import InputError
from trainer.cli import parse
from trainer.config import Config, data_config, to_yaml
from trainer.data.checks.report import check_command
from trainer.data.sources import find_sources
from trainer.prepare import main, read_command
from trainer.system import launcher
from trainer.system.text import join

FOLDERS = ["plain", "two words", "it's [a] set", '$HOME `id` "x"', "-dash", "a,b: c"]
CLASSES = ["no", "on", "a: b", "#1", "007", "it's", 'say "x"', "$HOME", "c, d", "null", "{x}", "1e3", "cat dog"]
OPTION = re.compile(r"^  (--data\.\w+ .*)$", re.MULTILINE)
"""An option on a line of its own, to be added to the command."""


def write_set(root: Path, values: tuple[int, int, int], names: list[str] | None = None) -> Path:
    """Four images with masks: two boxes of the last two `values` on the first one."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for number in range(4):
        mask = np.full((40, 48), values[0], np.uint8)
        mask[4:12, 4:20], mask[20:30, 10:40] = values[1], values[2]
        save_image(root / "images" / f"{number}.png", smooth_image(40, 48, number))
        save_mask(root / "masks" / f"{number}.png", mask)
    if names:
        (root / "class_names.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def recolour(root: Path, colours: list[tuple[int, int, int]], suffix: str = ".png") -> Path:
    """Make colour masks of the class ids; as JPEG their colours are scattered."""
    for file in sorted((root / "masks").iterdir()):
        ids = np.array(Image.open(file))
        file.unlink()
        Image.fromarray(np.array(colours, np.uint8)[ids]).save(file.with_suffix(suffix))
    return root


def words(line: str) -> list[str]:
    """Words that a shell makes of a line."""
    command = ["bash", "-c", f"printf '%s\\0' {line}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split("\0")[:-1]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("advice") / "program")


def test_options_that_check_offers(program: Program, tmp_path: Path) -> None:
    """Each refused folder is sound with the option that the error offers; nothing beside it contradicts the error."""
    sets = {f"folder {name}": write_set(tmp_path / name, (0, 255, 255)) for name in FOLDERS}
    sets |= {
        f"class {name}": write_set(tmp_path / f"{place}", (0, 100, 200), [name, "other"])
        for place, name in enumerate(CLASSES)
    }
    sets["gaps"] = write_set(tmp_path / "gaps", (0, 7, 9))
    red, blue = (255, 0, 0), (0, 0, 255)
    sets["colours"] = recolour(write_set(tmp_path / "colours", (0, 1, 2), ["a: b", "007"]), [(0, 0, 0), red, blue])
    sets["JPEG"] = recolour(write_set(tmp_path / "jpeg", (0, 1, 1)), [(0, 0, 0), (255, 255, 255)], ".jpg")
    refused = program.in_one_process("prepare", {name: ["check", "--", str(root)] for name, root in sets.items()})
    offered = {}
    for name, ended in refused.items():
        assert ended.returncode == 2, name
        assert "of any class" not in ended.output, name
        (line,) = OPTION.findall(ended.output)
        offered[name] = words(line)
        assert parse(offered[name]).data.value_map, name  # training takes it, too
    commands = {name: ["check", *offered[name], "--", str(root)] for name, root in sets.items()}
    for name, ended in program.in_one_process("prepare", commands).items():
        assert ended.returncode == 0, f"{name}: {ended.output}"
        table = ended.output.partition("of pictures")[2].partition("warning")[0].partition(" error")[0]
        if name.startswith("class "):
            assert re.search(rf"^{re.escape(name[6:])} +1 ", table, re.MULTILINE), ended.output


def test_folders_that_are_named(tmp_path: Path) -> None:
    """The folder within, alone and with another one, and the command that shows all warnings."""
    above = tmp_path / "two [words] it's"
    for name in ("a b", "c,d"):
        write_set(above / name, (0, 1, 1))
    with pytest.raises(InputError) as error:
        find_sources(data_config(root=[str(above)]))
    found = re.search(r"give (--data\.root .*), or several as (--data\.root .*)$", str(error.value), re.MULTILINE)
    assert found
    assert parse(words(found[1])).data.roots == [above / "a b"]
    assert parse(words(found[2])).data.roots == [above / "a b", above / "c,d"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_command_that_shows_all_warnings(folder: str, tmp_path: Path) -> None:
    classes = ["no", "a: b", "007", "it's"]
    config = data_config(
        root=[str(tmp_path / folder)], classes=classes, value_map={0: "background", "1-9": "a: b"}, fold=1
    )
    python, script, *rest = words(join(check_command(config)))
    assert (python, script) == ("python", "trainer/prepare.py")
    options = read_command(rest)
    assert options.folders == [str(tmp_path / folder)]
    again = data_config(root=options.folders, classes=options.classes, value_map=options.value_map, fold=options.fold)
    assert again.classes == config.classes
    assert again.value_map == {str(key): name for key, name in (config.value_map or {}).items()}
    assert again.fold == 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_command_to_train(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotated = tmp_path / "annotated"
    annotated.mkdir()
    (annotated / "x.png").write_bytes(png(smooth_image(40, 56, 0)))
    triangle = shape("polygon", [2, 2], [20, 2], [20, 20])
    (annotated / "x.json").write_text(json.dumps(record("x.png", triangle)))
    (tmp_path / "labels.txt").write_text("cat\n")
    out = tmp_path / folder
    assert main(["labelme", str(annotated), str(out), "--labels", str(tmp_path / "labels.txt")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  accelerate launch "))
    assert parse(words(line)[3:]).data.roots == [out]


def test_the_command_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mlruns of it's [one]" / "run"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(Config()))
    monkeypatch.chdir(tmp_path)
    into, line = launcher.resume_command(folder).split(" && ")
    assert words(into) == ["cd", str(tmp_path)]
    assert parse(words(line)[2:]).resume == str(folder.relative_to(tmp_path))
