"""What an installation may lack: extras, named with the command that brings them; and what prediction does without."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.discs import make_discs
from tests.support.program import REPOSITORY
from trainer import InputError
from trainer.config import places
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Segmenter
from trainer.system import installation
from trainer.system.installation import EXTRAS, command, require, training_command

LOADED = """
import json, sys
from trainer.predict import main
code = main(sys.argv[1:])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
sys.exit(code)
"""


def test_prediction_loads_nothing_of_training(make_segmenter: Callable[..., Segmenter], tmp_path: Path) -> None:
    save_segmenter(make_segmenter(), tmp_path / "model")
    images = make_discs(tmp_path / "data", count=2) / "JPEGImages"
    words = ["--model", tmp_path / "model", "--input", images, "--output", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", LOADED, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"torch", "numpy", "PIL", "safetensors", "rich"} <= loaded
    assert not loaded & {"accelerate", "mlflow", "kornia", "jsonargparse", "sqlalchemy", "pandas", "transformers"}


def test_each_extra_is_one_of_the_installation() -> None:
    """The packages that are looked for are those that pyproject.toml has in the extra of that name."""
    given = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        named = {Requirement(text).name.lower().replace("-", "_").removesuffix("_binary") for text in given[extra]}
        assert set(packages) <= named


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    require("train", "training")  # all there
    monkeypatch.setitem(installation.EXTRAS, "train", ("torch", "no_such_package", "nor_this"))
    wanted = r"^training needs the packages no_such_package, nor_this: pip install -c .* -e '\.\[train\]'$"
    with pytest.raises(InputError, match=wanted):
        require("train", "training")


def test_commands_fit_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (command("sync"), training_command()) == ("python trainer/sync.py", "accelerate launch trainer/train.py")
    monkeypatch.setattr(installation, "INSTALLED", True)
    assert (command("sync"), training_command()) == ("segtrainer sync", "segtrainer train")
    monkeypatch.setattr(places, "INSTALLED", True)
    assert places.install_command("onnx") == "pip install 'segtrainer[onnx]'"
