"""Orders of labelling by what a linear classifier learns: many trials, where `labelling.py` can do few.

python -m tests.benchmarks.order [--data DIR [DIR ...] | --generated 160] [--frames 1] [--clips 0] [--rare 0]
    [--spoilt 0] [--seeds 30] [--start 6] [--count 7] [--rounds 2]

The pretrained encoder describes each picture once, at 16 x 16 places. A training is a ridge regression of the mask on
that, a matter of milliseconds without chance of its own; its doubt is that of `label.py next`, and so is the order. A
third of the scenes is kept for scoring. `--frames 4` makes four frames of each other scene, `--clips 0.2` ten of every
fifth and one of the others; `--rare 0.1` makes it night in every tenth scene, also of those that score; `--spoilt 0.15`
leaves nothing to see or to label in so many, which do not score.

The table has the mean IoU of the foreground and the background over the seeds, and the difference to a random order,
which is a mean of three, with its interval of 95 % (Student's t over the seeds).
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from tests.benchmarks.labelling import ENOUGH, find_truth, interval, one_frame
from trainer import IGNORE
from trainer.data.resize import scale_image
from trainer.data.resize_mask import scale_mask
from trainer.labelling.order import LEAST_DOUBT, choose
from trainer.model.encoders import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite
from trainer.model.pretrained import find_weights

ENCODER, SIZE, PLACES = "efficientnet-lite0", 128, 16
DIRECTIONS, RANDOM_FEATURES = 128, 160
"""Principal directions of the features, and rectified random sums of these."""

RIDGE, SHARPNESS = 750.0, 2.5
"""Penalty of large weights; factor of a result, about -1 to 1, as the logit of its probability."""

CLIP_FRAMES, NIGHT, BLOTCHES, RANDOM_DRAWS = 10, 0.2, 4, 3

Order = Callable[[np.ndarray, np.ndarray, np.ndarray, int, np.random.Generator], list[int]]
"""Rows by doubts [N], features [N, F], those of labelled pictures [M, F], how many, and a source of chance."""


def following(doubts: np.ndarray, features: np.ndarray, known: np.ndarray, count: int, _: object) -> list[int]:
    """Order of `label.py next`."""
    return choose(doubts, np.ones(len(doubts)), features, known, count)


def at_random(doubts: np.ndarray, _f: object, _k: object, count: int, random: np.random.Generator) -> list[int]:
    chosen: list[int] = random.permutation(len(doubts))[:count].tolist()
    return chosen


def doubted(doubts: np.ndarray, _f: object, _k: object, count: int, _r: object) -> list[int]:
    chosen: list[int] = np.argsort(-doubts, kind="stable")[:count].tolist()
    return chosen


def farthest(doubts: np.ndarray, features: np.ndarray, known: np.ndarray, count: int, _: object) -> list[int]:
    """Greedy k-centre (Sener 2018), distances times doubts."""
    together = np.concatenate([features, known]).astype(np.float64)
    together = (together - together.mean(axis=0)) / np.maximum(together.std(axis=0), 1e-6)
    together /= np.linalg.norm(together, axis=1, keepdims=True)
    apart = np.linalg.norm(together[: len(doubts), None] - together[None], axis=2)
    nearest = apart[:, len(doubts) :].min(axis=1, initial=2)
    chosen: list[int] = []
    while len(chosen) < min(count, len(doubts)):
        scores = np.maximum(doubts, LEAST_DOUBT) * nearest
        scores[chosen] = -1
        chosen.append(int(scores.argmax()))
        nearest = np.minimum(nearest, apart[:, chosen[-1]])
    return chosen


ORDERS: dict[str, Order] = {"random": at_random, "next": following, "doubt alone": doubted, "k-centre": farthest}


class World:
    """Pictures at so many places, what is true there, and a classifier of them."""

    def __init__(self, options: argparse.Namespace, top: Path) -> None:
        truth, random = find_truth(options, top), np.random.default_rng(0)
        images, masks, scenes, frames, spoilt = [], [], [], [], set()
        for scene, sample in enumerate(truth.samples):
            image, mask = sample.read_image(), sample.read_mask(truth.values)
            if random.random() < options.rare:
                image = (image * NIGHT).astype(np.uint8)
            if random.random() < options.spoilt:
                spoilt.add(scene)
                image, mask = out_of_focus(image) * random.uniform(0.3, 1), np.zeros_like(mask)
            count = (CLIP_FRAMES if random.random() < options.clips else 1) if options.clips else options.frames
            for frame in range(count + 1 if count > 1 else 1):  # the whole picture, and parts of it
                shown, labels = one_frame(image, mask, random) if frame else (image, mask)
                images.append(scale_image(shown.astype(np.uint8), (SIZE, SIZE)))
                masks.append(scale_mask(labels, (SIZE, SIZE)))
                scenes.append(scene)
                frames.append(frame)
        self.scenes = np.array(scenes)
        whole, several = np.array(frames) == 0, np.bincount(scenes)[self.scenes] > 1
        self.can_score, self.can_be_labelled = whole & ~np.isin(scenes, list(spoilt)), ~(whole & several)
        maps, self.features = describe(np.stack(images))
        self.seen = expand(maps)
        found = functional.avg_pool2d(torch.from_numpy(np.stack(masks)).ne(IGNORE).float()[:, None], SIZE // PLACES)
        thing = torch.from_numpy((np.stack(masks) > 0) & (np.stack(masks) != IGNORE)).float()[:, None]
        shares = functional.avg_pool2d(thing, SIZE // PLACES) / found.clamp(min=1e-6)
        self.counts, self.shares = (part.flatten(1).numpy() for part in (found, shares))
        weighted = self.seen * self.counts[..., None]
        self.squares = np.stack([one.T @ other for one, other in zip(weighted, self.seen, strict=True)])
        self.sums = np.einsum("npf,np->nf", weighted, 2 * self.shares - 1)

    def train(self, labelled: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Learn from these pictures: true and false places of each picture, int [N, 4], and its doubt, float [N]."""
        squares = self.squares[labelled].sum(axis=0) + RIDGE * np.eye(self.seen.shape[2], dtype=np.float32)
        results = self.seen @ np.linalg.solve(squares, self.sums[labelled].sum(axis=0))
        found, true, valid = results > 0, self.shares > 0.5, self.counts > 0.5
        cases = (found & true, found & ~true, ~found & true, ~found & ~true)
        probabilities = 1 / (1 + np.exp(-SHARPNESS * results))
        empty_known = not (true & valid)[labelled].any(axis=1).all()  # as `Certainty` has it
        nothing = 1 - probabilities.max(axis=1) if empty_known else np.zeros(len(found))
        sure = (probabilities * found).sum(axis=1) / np.maximum(found.sum(axis=1), 1)
        certainty = np.where(found.any(axis=1), sure, nothing)
        return np.stack([(case & valid).sum(axis=1) for case in cases], axis=1), 1 - certainty

    def split(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Pictures that score, and the pool."""
        scenes = random.permutation(self.scenes.max() + 1)
        kept = np.isin(self.scenes, scenes[: len(scenes) // 3])
        return np.flatnonzero(kept & self.can_score), np.flatnonzero(~kept & self.can_be_labelled)

    def simulate(self, order: Order, plan: argparse.Namespace, seed: int, draw: int) -> list[float]:
        """Mean IoU at each number of labelled pictures."""
        random = np.random.default_rng(seed)
        test, pool = self.split(random)
        labelled = random.permutation(pool)[: plan.start].tolist()
        chance, scores = np.random.default_rng([seed, draw]), []
        for number in range(plan.rounds + 1):
            counts, doubts = self.train(labelled)
            scores.append(miou(counts[test]))
            if number < plan.rounds:
                left = np.setdiff1d(pool, labelled)
                chosen = order(doubts[left], self.features[left], self.features[labelled], plan.count, chance)
                labelled += left[chosen].tolist()
        return scores

    def with_all(self, seed: int) -> tuple[float, int]:
        """Mean IoU with all of the pool labelled, and how many these are."""
        test, pool = self.split(np.random.default_rng(seed))
        return miou(self.train(pool.tolist())[0][test]), len(pool)


def out_of_focus(image: np.ndarray) -> np.ndarray:
    """An image, uint8 [H, W, 3], of which only the light in a few places is left."""
    return scale_image(scale_image(image, (BLOTCHES, BLOTCHES)), (image.shape[0], image.shape[1]))


@torch.inference_mode()
def describe(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features of uint8 [N, S, S, 3] at PLACES x PLACES places, float32 [N, P, F], and those that `next` compares."""
    encoder = EfficientNetLite(ENCODER).eval()
    encoder.load_pretrained(find_weights(ENCODER))
    maps, pooled = [], []
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    for one in images:
        levels = encoder((torch.from_numpy(one).permute(2, 0, 1)[None] - mean) / std)
        same = [functional.interpolate(level, (PLACES, PLACES), mode="bilinear", antialias=True) for level in levels]
        maps.append(torch.cat(same, dim=1)[0].flatten(1).T.numpy())
        pooled.append(levels[-1].mean(dim=(2, 3))[0].numpy())
    return np.stack(maps), np.stack(pooled)


def expand(maps: np.ndarray) -> np.ndarray:
    """Principal directions of features [N, P, F] at equal scale, rectified random sums of these, and 1."""
    maps = (maps - maps.mean(axis=(0, 1))) / (maps.std(axis=(0, 1)) + 1e-6)
    flat = maps.reshape(-1, maps.shape[2])
    sizes, directions = np.linalg.eigh(flat.T @ flat / len(flat))
    main = maps @ (directions / np.sqrt(np.maximum(sizes, 0) + 0.05))[:, -DIRECTIONS:]
    random = np.random.default_rng(0)
    sums = main @ random.normal(scale=1.5 / DIRECTIONS**0.5, size=(DIRECTIONS, RANDOM_FEATURES)).astype(np.float32)
    sums += random.uniform(-1, 1, RANDOM_FEATURES).astype(np.float32)
    return np.concatenate([main, np.maximum(sums, 0), np.ones_like(main[..., :1])], axis=2)


def miou(counts: np.ndarray) -> float:
    """Mean IoU of both classes over all pictures of [N, 4]: true, false and missed foreground, true background."""
    true, false, missed, other = counts.sum(axis=0)
    return float((true / max(1, true + false + missed) + other / max(1, other + false + missed)) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+")
    for name, default in (("generated", 160), ("frames", 1), ("seeds", 30), ("start", 6), ("count", 7), ("rounds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in ("clips", "rare", "spoilt"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    options = parser.parse_args()
    options.image_size = SIZE
    with tempfile.TemporaryDirectory() as scratch:
        world = World(options, Path(scratch))
    scores: dict[str, np.ndarray] = {}
    for name, order in ORDERS.items():
        draws = range(RANDOM_DRAWS if name == "random" else 1)
        found = [[world.simulate(order, options, seed, draw) for draw in draws] for seed in range(options.seeds)]
        scores[name] = np.array(found).mean(axis=1)
    full, pool = np.mean([world.with_all(seed) for seed in range(options.seeds)], axis=0)
    numbers = [options.start + number * options.count for number in range(options.rounds + 1)]
    table = Table(
        title=f"mean IoU; {full:.3f} with all {pool:.0f} of the pool, n {options.seeds}", title_justify="left"
    )
    for column in ("order", *map(str, numbers), f"{ENOUGH:.0%} with", "at the end to random", "seeds below random"):
        table.add_column(column, justify="right")
    for name, of in scores.items():
        means, differences = of.mean(axis=0), of[:, -1] - scores["random"][:, -1]
        enough = next(
            (str(number) for number, mean in zip(numbers, means, strict=True) if mean >= ENOUGH * full), "more"
        )
        cells = [f"{mean:.3f}" for mean in means]
        table.add_row(name, *cells, enough, interval(differences), f"{(differences < 0).sum()}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
