"""Calibration of probabilities: one temperature, its error, and the threshold that scores best. Pure arrays.

In numpy, whose sums do not depend on the number of threads: every process would find the same bits.
"""

import numpy as np
import torch
from torch import Tensor

from trainer import IGNORE

BINS = 15
"""Bins of equal width that confidences are sorted into, as Guo 2017 has them."""

COLDEST, HOTTEST = 0.05, 20.0
"""Range of temperatures. Beyond it probabilities are all but certain, or say nothing."""

NEWTON_STEPS = 50
"""Most steps towards the temperature; some eight are needed."""

LEAST_IMAGES = 5
"""Fewest images that a temperature and a threshold are fitted to; see .github/RESULTS.md."""

LEAST_GAIN = 0.002
"""Least gain of mIoU for which a threshold other than 0.5 is chosen; see .github/RESULTS.md."""

THRESHOLDS = tuple(round(place / 40, 3) for place in range(1, 40))
"""Foreground probabilities that are compared, 0.025 to 0.975."""

MIDDLE = THRESHOLDS.index(0.5)


def log_likelihoods(logits: np.ndarray) -> np.ndarray:
    """Log probability of each class, float64 [N, K], from logits [N, C]; C = 1 stands for two classes."""
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sum: np.ndarray = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted - log_sum


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """Temperature T whose probabilities, of logits / T, have the least negative log likelihood; 4 significant digits.

    Guo 2017, On calibration of modern neural networks, section 4.2. The likelihood is convex in 1 / T, so Newton's
    method within a shrinking bracket finds the one minimum. `logits`: [N, C]; `classes`: ids [N]. 1.0 where there is
    none: no pixel, or a single class.
    """
    if len(classes) == 0 or classes.min() == classes.max():
        return 1.0
    two = np.concatenate([np.zeros_like(logits), logits], axis=1) if logits.shape[1] == 1 else logits
    two = two.astype(np.float64)
    true = float(two[np.arange(len(classes)), classes].mean())
    low, high, inverse = 1 / HOTTEST, 1 / COLDEST, 1.0
    for _ in range(NEWTON_STEPS):
        probabilities = np.exp(log_likelihoods(two * inverse))
        expected = (probabilities * two).sum(axis=1)
        slope = float(expected.mean()) - true
        if slope == 0:
            break
        curvature = float(((probabilities * two**2).sum(axis=1) - expected**2).mean())
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else low
        following = step if low < step < high else (low * high) ** 0.5
        if abs(following - inverse) < 1e-7 * inverse:
            break
        inverse = following
    return float(f"{1 / inverse:.4g}")


def calibration_error(logits: np.ndarray, classes: np.ndarray) -> float:
    """Expected calibration error in 0..1: mean over N pixels of |accuracy - confidence| of the pixel's bin.

    Naeini 2015, Obtaining well calibrated probabilities using Bayesian binning; Guo 2017, eq. 3. Confidence is the
    probability of the most probable class, in BINS bins of equal width, each with its upper edge.
    """
    probabilities = np.exp(log_likelihoods(logits))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    bins = np.ceil(confidence * BINS).astype(np.int64).clip(1, BINS) - 1
    gaps = np.bincount(bins, right, BINS) - np.bincount(bins, confidence, BINS)
    return float(np.abs(gaps).sum() / len(classes)) if len(classes) else 0.0


def count_by_threshold(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Count pixels, int64 [2, 40]: row = true class, column = number of THRESHOLDS that the probability is above.

    `probabilities` of the foreground, float32, and `masks`, class ids 0 and 1, have equal shapes; 255 is left out.
    Compared in float32, as `Segmenter.classes` does: a sum of columns is the count of its class ids, exactly.
    """
    counted = masks != IGNORE
    edges = torch.tensor(THRESHOLDS, dtype=torch.float32, device=probabilities.device)
    above = torch.bucketize(probabilities[counted].contiguous(), edges)
    places = masks[counted].long() * (len(THRESHOLDS) + 1) + above
    return torch.bincount(places, minlength=2 * (len(THRESHOLDS) + 1)).reshape(2, -1)


def confusions(counts: Tensor) -> Tensor:
    """Confusion matrices, int64 [39, 2, 2], of the masks that each of THRESHOLDS gives, from `count_by_threshold`."""
    below = counts.cumsum(dim=1)[:, :-1]  # a probability above place thresholds is none above the threshold of place
    return torch.stack([below, counts.sum(dim=1, keepdim=True) - below], dim=-1).permute(1, 0, 2)


def threshold_curve(counts: Tensor) -> tuple[float, ...]:
    """IoU of the foreground at each of THRESHOLDS, from `count_by_threshold`; empty where no mask has foreground."""
    matrices = confusions(counts).cpu().numpy()
    if matrices[0, 1].sum() == 0:
        return ()
    return tuple(float(one[1, 1] / (one[1].sum() + one[0, 1])) for one in matrices)


def choose_threshold(curve: tuple[float, ...]) -> float:
    """Threshold nearest to 0.5 of those that are nearly the best, and better than 0.5; 0.5 where there is none.

    Nearly is less than LEAST_GAIN, and better is that much.
    """
    if not curve:
        return 0.5
    least = max(max(curve) - LEAST_GAIN, curve[MIDDLE] + LEAST_GAIN)
    near = [place for place, miou in enumerate(curve) if miou >= least]
    return THRESHOLDS[min(near, key=lambda place: (abs(place - MIDDLE), place), default=MIDDLE)]
