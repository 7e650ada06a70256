"""Effect of class weights and foreground sampling on rare classes.

python -m tests.benchmarks.imbalance [--set shapes|street] [--seeds 3] [--epochs 30] [--image_size 64]
    [--options "--key value ..."]

shapes: discs and squares are common, triangles are in one training image of twenty-five; validation images have all
three alike. street: eleven classes, of which persons, poles, signs, fences and lights have less than 1 % of the pixels.
The settings are trained on the same images with the same seeds; the table shows the scores of the last evaluation: the
mean over the seeds, and its spread (highest minus lowest).
"""

import argparse
import shlex
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from tests.benchmarks import street
from tests.support import runs
from tests.support.program import Program, train_command
from trainer.data.image_io import write_mask

SIDE, TRAINING, VALIDATING, RARE = 64, 200, 60, 25
NAMES = {
    "shapes": ("disc", "square", "triangle"),
    "street": street.NAMES,
}
SETTINGS = {
    f"{weights}, {sampling}": ["--loss.class_weights", weights, "--data.sampling", sampling]
    for weights, sampling in (
        ("none", "even"),
        ("balanced", "even"),
        ("none", "foreground"),
        ("balanced", "foreground"),
        ("auto", "auto"),
    )
}
COMMON = ["--tracking.enabled", "false", "--tracking.watch", "0", "--train.eval_every", "1000"]


def draw(random: np.random.Generator, kinds: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw a noisy image, uint8 [S, S, 3], with a shape of each of `kinds`, all of random colours, and its mask."""
    pil_image = Image.new("RGB", (SIDE, SIDE), tuple(int(level) for level in random.integers(0, 256, 3)))
    mask = Image.new("L", (SIDE, SIDE))
    for kind in kinds:
        radius = int(random.integers(7, 13))
        x, y = random.integers(radius, SIDE - radius, 2).tolist()
        colour = tuple(int(level) for level in random.integers(0, 256, 3))
        corners = [x - radius, y - radius, x + radius, y + radius]
        triangle = [(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)]
        for canvas, fill in ((pil_image, colour), (mask, kind)):
            pen = ImageDraw.Draw(canvas)
            if kind == 1:
                pen.ellipse(corners, fill=fill)
            elif kind == 2:
                pen.rectangle(corners, fill=fill)
            else:
                pen.polygon(triangle, fill=fill)
    noisy = np.array(pil_image) + random.normal(0, 12, (SIDE, SIDE, 3))
    return noisy.clip(0, 255).astype(np.uint8), np.array(mask)


def shapes(random: np.random.Generator, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw image number `index` of the shapes, and its mask."""
    trains = index < TRAINING
    rare = not trains or index % RARE == 0
    kinds = random.permutation([1, 2, *([3] if rare else [])])[: random.integers(1, 4)].tolist()
    return draw(random, [*kinds, 3] if trains and rare and 3 not in kinds else kinds)


def make(root: Path, kind: str) -> None:
    """Write one of the sets as a VOC folder with lists."""
    for part in ("JPEGImages", "SegmentationClassPNG", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    random = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for index in range(TRAINING + VALIDATING):
        image, mask = shapes(random, index) if kind == "shapes" else street.draw(random)
        Image.fromarray(image).save(root / "JPEGImages" / f"{index:03}.png")
        write_mask(root / "SegmentationClassPNG" / f"{index:03}.png", mask)
        lists["train" if index < TRAINING else "val"].append(f"{index:03}\n")
    (root / "class_names.txt").write_text("\n".join(NAMES[kind]))
    for part, lines in lists.items():
        (root / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("".join(lines))


def scores(program: Program, root: Path, seed: int, setting: list[str]) -> dict[str, float]:
    """Train once; return val/miou and val/iou/<class> of the last evaluation."""
    words = train_command(1, "--data.root", str(root), "--train.seed", f"{seed}")
    program.run(*words, *COMMON, *setting, timeout_s=24 * 3600, code=0)
    return {key: points[-1][1] for key, points in runs.curves(program.run_folders()[-1]).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=NAMES, default="shapes", dest="kind")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--options", default="", help="of train.py, such as '--model.width 8'")
    options = parser.parse_args()
    rest = ["--data.image_size", f"{options.image_size}", "--train.epochs", f"{options.epochs}"]
    keys = ["val/miou", *(f"val/iou/{name}" for name in NAMES[options.kind])]
    table = Table(title=f"{options.kind}, {options.epochs} epochs, {options.seeds} seeds: mean (spread)")
    for heading in ("weights, sampling", *keys):
        table.add_column(heading)
    with tempfile.TemporaryDirectory() as folder:
        root, program = Path(folder) / options.kind, Program(Path(folder) / "program")
        make(root, options.kind)
        for name, setting in SETTINGS.items():
            given = [*rest, *shlex.split(options.options), *setting]
            found = [scores(program, root, seed, given) for seed in range(options.seeds)]
            values = [[one[key] for one in found] for key in keys]
            table.add_row(name, *(f"{np.mean(one):.3f} ({max(one) - min(one):.3f})" for one in values))
            print(name, *(f"{key} {np.mean(one):.3f}" for key, one in zip(keys, values, strict=True)), flush=True)
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
