"""Exported models: another runtime gives torch's own result, for images of any size, and knows what the model is."""

import dataclasses
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.support.backbones import SMALL, save_backbone
from tests.support.images import smooth_image
from tests.support.program import REPOSITORY
from trainer import InputError
from trainer.inference import export
from trainer.inference.export import check_export, export_model
from trainer.inference.model import Model
from trainer.make.synthetic import draw_scene
from trainer.model.hub_geometry import encoder_settings
from trainer.model.huggingface import library
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Contract, Segmenter
from trainer.system.provenance import program_version

SIZES = ((1, 1), (20, 20), (45, 31), (96, 97), (300, 7), (333, 1501), (480, 640))
"""Heights and widths: small, large, odd, and with a side of the network's own 64 pixels as a factor or none."""

ORIGIN = {"uri": "models:/cats@champion", "name": "cats", "version": "3", "alias": "champion", "run_id": "r"}
Run = Callable[[np.ndarray], np.ndarray]


def make_model(foreground: int, **changes: Any) -> Model:
    """Network with random weights whose batch norm has seen images, so that its masks have many outlines."""
    names = ("_background_", *(f"class {number}" for number in range(1, foreground + 1)))
    colours = tuple((number, 2 * number, 3 * number) for number in range(len(names)))
    facts: dict[str, Any] = {"image_size": 64, "width": 8, "depth": 3, "threshold": 0.45, "dataset_digest": "d1"}
    torch.manual_seed(foreground)
    segmenter = Segmenter(Contract(names, colours, **(facts | changes))).train()
    with torch.no_grad():
        segmenter(torch.from_numpy(scenes(64, 64)))
    return Model(segmenter.eval(), dict(ORIGIN))


def scenes(height: int, width: int) -> np.ndarray:
    """Two generated photographs of cats and a smooth one, uint8 [3, height, width, 3]."""
    drawn = [Image.fromarray(draw_scene(7, number).image).resize((width, height)) for number in range(2)]
    return np.stack([*map(np.asarray, drawn), smooth_image(height, width, 1)])


def onnx_run(file: Path) -> Run:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def compare(model: Model, run: Run, sizes: tuple[tuple[int, int], ...] = SIZES) -> None:
    """Equal class ids in 99.9 % of all pixels, and probabilities that differ by what one level changes at most."""
    equal, pixels, seen = 0, 0, set[int]()
    for height, width in sizes:
        images = scenes(height, width)
        for batch in (images, images[:1]):
            with torch.no_grad():
                wanted = model.segmenter(torch.from_numpy(batch))
            given = run(batch)
            assert (given.shape, given.dtype) == (tuple(wanted.shape), np.float32)
            assert np.abs(given - wanted.numpy()).max() < 0.02, (height, width)
            ids = [model.segmenter.classes(one) for one in (torch.from_numpy(given), wanted)]
            seen |= set(ids[1].unique().tolist())
            equal += int((ids[0] == ids[1]).sum())
            pixels += ids[1].numel()
    assert len(seen) > 1, "nothing to compare"
    assert equal / pixels >= 0.999


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A model of one class, and its ONNX file."""
    model, file = make_model(1), tmp_path_factory.mktemp("export") / "cats.onnx"
    assert export_model(model, "onnx", file) == [file, file.with_suffix(".yaml")]
    return model, file


def test_onnx_equals_torch(exported: tuple[Model, Path]) -> None:
    model, file = exported
    compare(model, onnx_run(file))


def test_onnx_resizes_as_torch(exported: tuple[Model, Path]) -> None:
    """The network's input is the same to the last level: images of its own size, halved, and enlarged by a fraction."""
    model, file = exported
    run = onnx_run(file)
    for size in ((64, 64), (128, 128), (31, 45)):
        images = scenes(*size)
        with torch.no_grad():
            wanted = model.segmenter(torch.from_numpy(images)).numpy()
        assert (np.abs(run(images) - wanted) < 1e-4).mean() > 0.995


def test_onnx_is_one_file_that_knows_the_model(exported: tuple[Model, Path]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, file = exported
    assert sorted(path.name for path in file.parent.iterdir()) == ["cats.onnx", "cats.yaml"]
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["batch", "height", "width", 3])
    assert (result.name, result.shape) == ("probabilities", ["batch", 1, "height", "width"])
    about = session.get_modelmeta().custom_metadata_map
    contract = model.segmenter.contract
    assert json.loads(about["class_names"]) == list(contract.class_names)
    assert json.loads(about["colours"]) == [list(colour) for colour in contract.colours]
    assert (float(about["threshold"]), int(about["image_size"])) == (0.45, 64)
    assert (about["model_name"], about["model_version"], about["dataset_digest"]) == ("cats", "3", "d1")
    assert about["program"] == f"segtrainer {program_version()}"
    assert str(Path(torch.__file__).parent).encode() not in file.read_bytes(), "paths of this machine"


def test_the_description_is_what_labelling_tools_read(exported: tuple[Model, Path]) -> None:
    _, file = exported
    content = yaml.safe_load(file.with_suffix(".yaml").read_text())
    assert {"type", "name", "display_name", "provider", "model_path", "input_width", "input_height"} <= set(content)
    assert (file.parent / content["model_path"]).is_file()
    assert (content["display_name"], content["classes"], content["conf_threshold"]) == ("cats 3", ["class 1"], 0.45)


def test_openvino_reads_onnx(exported: tuple[Model, Path]) -> None:
    openvino = pytest.importorskip("openvino")
    model, file = exported
    compiled = openvino.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    compare(model, lambda images: compiled(images)[0], SIZES[2:5])


def test_pt2_equals_torch(tmp_path: Path) -> None:
    """Loaded without this package's code; several classes."""
    model, file = make_model(2), tmp_path / "x.pt2"
    assert export_model(model, "pt2", file) == [file]
    about = {"metadata.json": ""}
    network = torch.export.load(file, extra_files=about).module()
    compare(model, lambda images: network(torch.from_numpy(images)).detach().numpy(), SIZES[2:5])
    assert json.loads(json.loads(about["metadata.json"])["class_names"]) == ["_background_", "class 1", "class 2"]


@pytest.mark.long
@pytest.mark.parametrize("changes", [{"encoder": "efficientnet-lite0"}, {"norm": "group"}], ids=str)
def test_every_network_becomes_onnx(changes: dict[str, Any], tmp_path: Path) -> None:
    model = make_model(2, **changes)
    with torch.no_grad():  # of random weights, so that both classes are there
        middle = float(model.segmenter(torch.from_numpy(scenes(*SIZES[1]))).median())
    model.segmenter.contract = dataclasses.replace(model.segmenter.contract, threshold=middle)
    export_model(model, "onnx", tmp_path / "x.onnx")
    compare(model, onnx_run(tmp_path / "x.onnx"), SIZES[1:6])


@pytest.mark.long
@pytest.mark.parametrize("family", SMALL)
def test_encoders_of_hugging_face_become_onnx(family: str, tmp_path: Path) -> None:
    config = save_backbone(tmp_path / "backbone", family) / "config.json"
    settings = encoder_settings(config, json.loads(config.read_text()))
    model = make_model(1, encoder=f"hf:{family}", encoder_config=settings, encoder_library=library())
    with torch.no_grad():  # of random weights, so that both classes are there
        middle = float(model.segmenter(torch.from_numpy(scenes(*SIZES[1]))).median())
    model.segmenter.contract = dataclasses.replace(model.segmenter.contract, threshold=middle)
    export_model(model, "onnx", tmp_path / "x.onnx")
    compare(model, onnx_run(tmp_path / "x.onnx"), SIZES[1:6])


@pytest.mark.parametrize("changes", [{"view": "tiles"}, {"view": "tiles", "scale": 0.5}, {"keep_aspect": True}])
def test_every_view_becomes_onnx(changes: dict[str, Any], tmp_path: Path) -> None:
    model = make_model(1, **changes)
    export_model(model, "onnx", tmp_path / "x.onnx")
    compare(model, onnx_run(tmp_path / "x.onnx"), SIZES[1:6])


def test_the_example_of_the_manual(exported: tuple[Model, Path], tmp_path: Path) -> None:
    """It runs as it stands there, with onnxruntime, Pillow and numpy alone, and gives the mask of predict."""
    pytest.importorskip("onnxruntime")
    model, file = exported
    text = (REPOSITORY / ".github" / "USING.md").read_text()
    section = text.partition("\n## Models in other programs\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^(?:    import .*\n)(?:    .*\n|\n(?=    ))+", section, re.MULTILINE)
    assert set(re.findall(r"^ *(?:import|from) (\w+)", block, re.MULTILINE)) == {"json", "numpy", "onnxruntime", "PIL"}
    (tmp_path / "my-model.onnx").write_bytes(file.read_bytes())
    Image.fromarray(scenes(120, 90)[0]).save(tmp_path / "photo.jpg", quality=95)
    subprocess.run([sys.executable, "-c", textwrap.dedent(block)], cwd=tmp_path, check=True, timeout=120)
    wanted = model.predict(tmp_path / "photo.jpg").mask
    given = np.asarray(Image.open(tmp_path / "mask.png"))
    assert len(np.unique(wanted)) == 2
    assert (given == wanted).mean() >= 0.999


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("kind", "file", "wanted"),
    [
        ("onxx", "x.onnx", "give onnx or pt2"),
        ("onnx", "x.pt2", "ends in .onnx"),
        ("pt2", "nowhere/x.pt2", "cannot be written"),
        ("pt2", "folder.pt2", "is a folder"),
    ],
)
def test_what_cannot_be_written_is_refused(kind: str, file: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(InputError, match=wanted):
        check_export(kind, str(tmp_path / file))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.pt2"]


@pytest.mark.parametrize("content", ["data.root: cats\n", "- a\n", "provider: me\n", "{", ""])
def test_a_file_of_somebody_is_not_replaced_by_the_description(content: str, tmp_path: Path) -> None:
    (tmp_path / "cats.yaml").write_text(content)
    with pytest.raises(InputError, match=r"cats\.yaml would be written over by the model's description"):
        check_export("onnx", str(tmp_path / "cats.onnx"))
    assert check_export("pt2", str(tmp_path / "cats.pt2")) == tmp_path / "cats.pt2"
    contract = make_model(1).segmenter.contract
    (tmp_path / "cats.yaml").write_text(export.describe(tmp_path / "cats.onnx", contract, {}))
    assert check_export("onnx", str(tmp_path / "cats.onnx")) == tmp_path / "cats.onnx"


def test_a_network_that_cannot_be_exported_is_named(tmp_path: Path) -> None:
    class Branching(Segmenter):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) if images.float().mean() > 0 else torch.zeros(())

    model = Model(Branching(make_model(1).segmenter.contract).eval())
    with pytest.raises(InputError, match=r"encoder none cannot be exported \(\w+"):
        export_model(model, "pt2", tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())


def test_an_earlier_file_stays_where_the_new_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More weights than one file of ONNX holds: refused before anything is made."""
    (tmp_path / "x.onnx").write_text("earlier")
    monkeypatch.setattr(export, "MOST_ONNX_BYTES", 1000)
    with pytest.raises(InputError, match="one ONNX file holds 1,000"):
        export_model(make_model(1), "onnx", tmp_path / "x.onnx")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.onnx", "earlier")]


def test_everything_of_the_contract_is_said() -> None:
    contract = make_model(1, levels=(0.0, 4095.0)).segmenter.contract
    said = export.metadata(contract, {"uri": "/home/me/model"})
    empty = {key for key, value in asdict(contract).items() if value in ("", None)}
    assert set(said) == (set(asdict(contract)) - empty) | {"program"}
    assert "/home/me" not in str(said)


# ---------------------------------------------------------------- the command

WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "onnxscript":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "onnxscript" else found(name)
from trainer.predict import main
code = main(sys.argv[1:])
assert not {"torch", "numpy"} & set(sys.modules)
sys.exit(code)
"""


def command(*words: object, script: str = "from trainer.predict import main; import sys; sys.exit(main())") -> Any:
    line = [sys.executable, "-c", textwrap.dedent(script), *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    ended = command("--model", tmp_path, "--export", "onnx", tmp_path / "x.onnx", script=WITHOUT)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "predict.py: --export onnx needs the package onnxscript: pip install -c launch/constraints.txt -e '.[onnx]'\n"
    )


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from trainer.predict import main
sys.exit(main())
"""


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """Nothing is left of the new file; the earlier one stays."""
    save_segmenter(make_model(1).segmenter, tmp_path / "model")
    (tmp_path / "x.pt2").write_text("earlier")
    ended = command("--model", tmp_path / "model", "--export", "pt2", tmp_path / "x.pt2", script=LIMITED)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(
        r"predict\.py: .*x\.pt2: cannot be written .*more than 1000 bytes are not allowed.*\n", ended.stderr
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "x.pt2"]
    assert (tmp_path / "x.pt2").read_text() == "earlier"


def test_export_predicts_nothing(tmp_path: Path) -> None:
    ended = command("--model", tmp_path, "--export", "onnx", tmp_path / "x.onnx", "--output", tmp_path / "out")
    assert ended.returncode == 2
    assert "leave --input and --output out" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_options_of_predictions_are_refused_beside_an_export(tmp_path: Path) -> None:
    words = ["--model", tmp_path, "--export", "pt2", tmp_path / "x.pt2"]
    ended = command(*words, "--tta", "flips", "--coco", "--threshold", "0.9", "--batch_size", "8")
    assert ended.returncode == 2
    assert "the model keeps --threshold; leave --coco, --tta out" in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("given", "expected"), [((), 0.45), (("--threshold", "0.9"), 0.9)])
def test_a_threshold_is_exported(given: tuple[str, ...], expected: float, tmp_path: Path) -> None:
    save_segmenter(make_model(1).segmenter, tmp_path / "model")
    ended = command("--model", tmp_path / "model", "--export", "pt2", tmp_path / "x.pt2", *given)
    assert ended.returncode == 0, ended.stderr
    facts = {"metadata.json": ""}
    torch.export.load(tmp_path / "x.pt2", extra_files=facts)
    assert json.loads(json.loads(facts["metadata.json"])["threshold"]) == expected


def test_images_of_other_bands_become_onnx(tmp_path: Path) -> None:
    bands = 5
    settings = {"mean": (100.0,) * bands, "std": (50.0,) * bands, "band_levels": ((0.0, 255.0),) * bands}
    names, colours = ("_background_", "a"), ((0, 0, 0), (1, 1, 1))
    torch.manual_seed(0)
    segmenter = Segmenter(Contract(names, colours, 64, width=8, depth=3, input_channels=bands, **settings)).eval()
    export_model(Model(segmenter, dict(ORIGIN)), "onnx", tmp_path / "x.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 70, 90, bands), dtype=np.uint8)
    with torch.no_grad():
        wanted = segmenter(torch.from_numpy(images)).numpy()
    assert np.abs(onnx_run(tmp_path / "x.onnx")(images) - wanted).max() < 0.01
