"""Effect of class weights and foreground sampling on a class that is in few images.

python -m tests.benchmarks.imbalance [--seeds 3] [--epochs 30]

Discs and squares are common, triangles are in one training image of twenty-five; validation images have all three
alike. The four settings are trained on the same images with the same seeds; the table shows the mean IoU of the last
evaluation over the seeds, and its spread (highest minus lowest).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from tests.support import runs
from tests.support.program import Program, train_command
from trainer.data.image_io import write_mask

SIDE, TRAINING, VALIDATING, RARE = 64, 200, 60, 25
NAMES = ("disc", "square", "triangle")
SETTINGS = {
    "neither": [],
    "loss.class_weights auto": ["--loss.class_weights", "auto"],
    "data.sampling foreground": ["--data.sampling", "foreground"],
    "both": ["--loss.class_weights", "auto", "--data.sampling", "foreground"],
}
COMMON = [
    *("--data.image_size", f"{SIDE}", "--model.width", "8", "--model.depth", "3", "--data.augment", "light"),
    *("--tracking.enabled", "false", "--tracking.watch", "0", "--train.eval_every", "1000"),
]


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


def make(root: Path) -> None:
    """Write the set as a VOC folder with lists."""
    for part in ("JPEGImages", "SegmentationClassPNG", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    random = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for index in range(TRAINING + VALIDATING):
        part = "train" if index < TRAINING else "val"
        rare = part == "val" or index % RARE == 0
        kinds = random.permutation([1, 2, *([3] if rare else [])])[: random.integers(1, 4)].tolist()
        if part == "train" and rare and 3 not in kinds:
            kinds.append(3)
        image, mask = draw(random, kinds)
        Image.fromarray(image).save(root / "JPEGImages" / f"{index:03}.png")
        write_mask(root / "SegmentationClassPNG" / f"{index:03}.png", mask)
        lists[part].append(f"{index:03}\n")
    (root / "class_names.txt").write_text("\n".join(NAMES))
    for part, lines in lists.items():
        (root / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("".join(lines))


def scores(program: Program, root: Path, seed: int, epochs: int, setting: list[str]) -> dict[str, float]:
    """Train once; return val/miou and val/iou/<class> of the last evaluation."""
    words = train_command(1, "--data.root", str(root), "--train.seed", f"{seed}", "--train.epochs", f"{epochs}")
    program.run(*words, *COMMON, *setting, timeout_s=24 * 3600, code=0)
    return {key: points[-1][1] for key, points in runs.curves(program.run_folders()[-1]).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    keys = ["val/miou", *(f"val/iou/{name}" for name in NAMES)]
    table = Table(title=f"{options.epochs} epochs, {options.seeds} seeds: mean (spread)")
    for heading in ("setting", *keys):
        table.add_column(heading)
    with tempfile.TemporaryDirectory() as folder:
        root, program = Path(folder) / "shapes", Program(Path(folder) / "program")
        make(root)
        for name, setting in SETTINGS.items():
            found = [scores(program, root, seed, options.epochs, setting) for seed in range(options.seeds)]
            values = [[one[key] for one in found] for key in keys]
            table.add_row(name, *(f"{np.mean(one):.3f} ({max(one) - min(one):.3f})" for one in values))
    Console().print(table)


if __name__ == "__main__":
    main()
