"""Thin things in large images: the whole image squeezed into one square against tiles, in the same minutes.

python -m tests.benchmarks.sizes [--images 40] [--minutes 5] [--image_size 256] [--seeds 0] [--folder DIR]
    [--data.root DIR]

The images are the project's own: curves 3 to 6 pixels wide on textured grounds of 2000x1500 pixels. With --data.root,
your own instead. The table shows val/miou of the whole images at their own size, and what data.view auto says.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tests.benchmarks.measuring import markdown
from tests.support import runs
from tests.support.program import Program, train_command
from trainer.data.image_io import write_mask

WIDTH, HEIGHT = 2000, 1500
"""Size of an image in pixels."""

CURVES, THINNEST, THICKEST = 6, 3, 6
"""Curves in an image, and their width in pixels."""


def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw curves on a textured ground: image uint8 [H, W, 3] and mask uint8 [H, W]."""
    ground = np.zeros((HEIGHT, WIDTH, 3), np.float32) + random.uniform(90, 170, 3)
    for grain, depth in ((250, 25), (60, 12), (4, 18)):  # patches, spots and noise
        small = random.normal(0, depth, (HEIGHT // grain + 2, WIDTH // grain + 2)).astype(np.float32)
        ground += np.array(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))[..., None]
    mask = Image.new("L", (WIDTH, HEIGHT))
    for _ in range(CURVES):
        pen, width = ImageDraw.Draw(mask), int(random.integers(THINNEST, THICKEST + 1))
        pen.line(_curve(random), fill=1, width=width, joint="curve")
    ids = np.array(mask)
    # Darker than the ground, and soft at the edge, as a crack or a cable is.
    shade = np.array(Image.fromarray(ids * 255).filter(ImageFilter.GaussianBlur(0.7)), np.float32)[..., None] / 255
    image = ground - shade * random.uniform(35, 60)
    # Shadows as wide as nothing that is labelled, so that darkness alone tells nothing.
    shadow = Image.new("L", (WIDTH, HEIGHT))
    for _ in range(3):
        ImageDraw.Draw(shadow).line(_curve(random), fill=255, width=int(random.integers(30, 60)), joint="curve")
    image -= np.array(shadow.filter(ImageFilter.GaussianBlur(9)), np.float32)[..., None] / 255 * random.uniform(30, 60)
    return np.clip(image, 0, 255).astype(np.uint8), ids


def _curve(random: np.random.Generator) -> list[tuple[float, float]]:
    """Points of a walk that turns slowly."""
    x, y, heading, points = random.uniform(0, WIDTH), random.uniform(0, HEIGHT), random.uniform(0, 2 * np.pi), []
    turn = 0.0
    for _ in range(int(random.integers(60, 160))):
        points.append((x, y))
        turn = 0.9 * turn + random.normal(0, 0.04)
        heading += turn
        x, y = x + 12 * np.cos(heading), y + 12 * np.sin(heading)
    return points


def make(folder: Path, images: int, seed: int = 0) -> Path:
    """Write a dataset of `images` samples; return its folder."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(images):
        image, mask = draw(np.random.default_rng([seed, number]))
        Image.fromarray(image).save(folder / "images" / f"{number:03}.jpg", quality=92)
        write_mask(folder / "masks" / f"{number:03}.png", mask)
    (folder / "class_names.txt").write_text("_background_\ncurve\n")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data.root", dest="root")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--folder", type=Path, help="where the images are made, to be looked at")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.root or make(options.folder or Path(scratch) / "curves", options.images)
        program = Program(Path(scratch) / "program")
        rows = []
        for view in ("whole", "tiles"):
            found = [_train(program, root, options, view, int(seed)) for seed in options.seeds.split(",")]
            spread = max(found) - min(found)
            rows.append([view, f"{len(found)}", f"{statistics.mean(found):.3f}", f"{spread:.3f}"])
            print(rows[-1], flush=True)
        print(markdown(["data.view", "n", "val/miou, the best", "spread"], rows))


def _train(program: Program, root: object, options: argparse.Namespace, view: str, seed: int) -> float:
    before = set(program.run_folders())
    words = train_command(1, "--data.root", f"{root}", "--data.image_size", f"{options.image_size}")
    words += ["--data.view", view, "--train.seed", f"{seed}", "--train.minutes", f"{options.minutes}"]
    words += ["--tracking.enabled", "false", "--tracking.watch", "0"]
    program.run(*words, timeout_s=24 * 3600, code=0)
    (folder,) = set(program.run_folders()) - before
    return max(record["metrics"].get("val/miou", 0.0) for record in runs.records(folder) if "metrics" in record)


if __name__ == "__main__":
    main()
