"""Temperature, calibration error and threshold against scipy, scikit-learn, plain numpy and masks that are scored."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import jaccard_score, log_loss

from trainer import IGNORE
from trainer.model.calibration import (
    COLDEST,
    HOTTEST,
    LEAST_GAIN,
    MIDDLE,
    THRESHOLDS,
    calibration_error,
    choose_threshold,
    confusions,
    count_by_threshold,
    fit_temperature,
    log_likelihoods,
    threshold_curve,
)
from trainer.model.metrics import confusion_matrix
from trainer.model.segmenter import Contract, Segmenter


def example(channels: int, temperature: float, seed: int = 0, count: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, float32 [N, C], and classes that are drawn by the probabilities of logits / temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 4, (count, channels)).astype(np.float32)
    chances = probabilities(logits / temperature)
    classes = (random.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return logits, classes.clip(0, chances.shape[1] - 1)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax, float64 [N, K], by torch."""
    two = np.concatenate([0 * logits, logits], axis=1) if logits.shape[1] == 1 else logits
    return torch.from_numpy(two).double().softmax(dim=1).numpy()


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_likelihood_equals_scikit_learn(channels: int) -> None:
    logits, classes = example(channels, 2.0)
    expected = log_loss(classes, probabilities(logits), labels=range(max(2, channels)))
    found = -log_likelihoods(logits)[np.arange(len(classes)), classes].mean()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_temperature_equals_scipys(channels: int, temperature: float) -> None:
    logits, classes = example(channels, temperature)
    found = fit_temperature(logits, classes)

    def loss(log: float) -> float:
        return float(log_loss(classes, probabilities(logits / np.exp(log)), labels=range(max(2, channels))))

    best = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-7})
    assert found == pytest.approx(np.exp(best.x), rel=6e-4)  # it has four digits
    assert found == pytest.approx(temperature, rel=0.2)


def test_temperature_where_nothing_can_be_fitted() -> None:
    logits, classes = example(1, 2.0)
    assert fit_temperature(logits[:0], classes[:0]) == 1.0
    assert fit_temperature(logits, np.zeros_like(classes)) == 1.0
    assert fit_temperature(logits, np.ones_like(classes)) == 1.0


def test_temperature_has_bounds() -> None:
    """Classes that logits tell without fault, or know nothing of, and logits of every size."""
    logits, _ = example(1, 2.0)
    assert fit_temperature(logits, (logits[:, 0] > 0).astype(int)) == COLDEST
    assert fit_temperature(logits, (logits[:, 0] < 0).astype(int)) == HOTTEST
    assert fit_temperature(0 * logits, (logits[:, 0] > 0).astype(int)) == 1.0
    assert fit_temperature(1e4 * logits, (logits[:, 0] > 3).astype(int)) == HOTTEST


def plain_error(logits: np.ndarray, classes: np.ndarray) -> float:
    """Expected calibration error in the words of Guo 2017, one bin after the other."""
    chances = probabilities(logits)
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == classes
    total = 0.0
    for place in range(15):
        inside = (confidence > place / 15) & (confidence <= (place + 1) / 15)
        if inside.any():
            total += inside.sum() / len(classes) * abs(right[inside].mean() - confidence[inside].mean())
    return float(total)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_calibration_error_equals_plain_numpy(channels: int, temperature: float) -> None:
    logits, classes = example(channels, temperature)
    assert calibration_error(logits, classes) == pytest.approx(plain_error(logits, classes), abs=1e-9)
    if temperature > 1:
        assert calibration_error(logits / temperature, classes) < 0.5 * calibration_error(logits, classes)
    assert calibration_error(logits[:0], classes[:0]) == 0.0


def segmenter_at(threshold: float) -> Segmenter:
    contract = Contract(("_background_", "cat"), ((0, 0, 0), (0, 128, 0)), 16, width=8, depth=2, threshold=threshold)
    return Segmenter(contract)


def test_counts_by_threshold_are_those_of_the_masks() -> None:
    """At every threshold, by `Segmenter.classes`; also for probabilities that are a threshold, and ignored pixels."""
    random = torch.Generator().manual_seed(0)
    probabilities = torch.rand(1, 1, 61, 47, generator=random)
    edges = torch.tensor(THRESHOLDS)
    near = torch.cat([edges, torch.nextafter(edges, torch.ones(1)), torch.nextafter(edges, torch.zeros(1))])
    probabilities.view(-1)[: len(near)] = near
    mask = (torch.rand(61, 47, generator=random) < probabilities[0, 0]).to(torch.uint8)
    mask[5:9] = IGNORE
    counts = count_by_threshold(probabilities[0, 0], mask)
    assert counts.sum() == (mask != IGNORE).sum()
    curve = threshold_curve(counts)
    for place, threshold in enumerate(THRESHOLDS):
        classes = segmenter_at(threshold).classes(probabilities)[0]
        assert torch.equal(confusions(counts)[place], confusion_matrix(classes, mask, 2))
        counted = mask != IGNORE
        assert curve[place] == pytest.approx(jaccard_score(mask[counted], classes[counted]), abs=1e-12)


def test_masks_without_foreground_have_no_curve() -> None:
    counts = count_by_threshold(torch.rand(9, 9), torch.zeros(9, 9, dtype=torch.uint8))
    assert threshold_curve(counts) == ()
    assert choose_threshold(()) == 0.5


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({}, 0.5),
        ({0.8: LEAST_GAIN / 2}, 0.5),  # noise
        ({0.8: 0.01}, 0.8),
        ({0.8: 0.01, 0.6: 0.009}, 0.6),  # nearly the best, and nearer
        ({0.8: 0.01, 0.6: 0.007}, 0.8),
        ({0.8: 0.01, 0.2: 0.01}, 0.2),  # equal, and equally near: the lower one
        ({0.7: 0.0025, 0.6: 0.001}, 0.7),  # that is nearly as good as 0.5 too
        ({0.025: 0.3}, 0.025),
    ],
)
def test_threshold_is_moved_for_a_gain_alone(gains: dict[float, float], expected: float) -> None:
    curve = tuple(0.6 + gains.get(threshold, 0.0) for threshold in THRESHOLDS)
    assert THRESHOLDS[MIDDLE] == 0.5
    assert choose_threshold(curve) == expected


@pytest.mark.parametrize("foreground", [1, 3])
def test_temperature_sharpens_and_keeps_the_classes(foreground: int) -> None:
    names = tuple(f"{number}" for number in range(foreground + 1))
    contract = Contract(names, ((0, 0, 0),) * len(names), 16, width=8, depth=2)
    logits = torch.randn(2, contract.channels, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = Segmenter(contract).probabilities(logits, (16, 16))
    for temperature in (0.5, 1.0, 3.0):
        segmenter = Segmenter(Contract(names, ((0, 0, 0),) * len(names), 16, width=8, depth=2, temperature=temperature))
        found = segmenter.probabilities(logits, (16, 16))
        expected = probabilities((logits / temperature).permute(0, 2, 3, 1).reshape(-1, contract.channels).numpy())
        last = found.permute(0, 2, 3, 1).reshape(-1, contract.channels)[:, -1]
        assert last.numpy() == pytest.approx(expected[:, -1], abs=1e-6)
        assert torch.equal(segmenter.classes(found), segmenter.classes(plain))
        assert torch.equal(found, plain) is (temperature == 1.0)


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.925])
def test_confidence_is_the_probability_of_the_class(threshold: float) -> None:
    """With a threshold of 0.5 that of the more probable one, bit for bit."""
    segmenter, probabilities = segmenter_at(threshold), torch.rand(1, 1, 60, 70)
    foreground = probabilities[0, 0]
    found, classes = segmenter.confidence(probabilities)[0], segmenter.classes(probabilities)[0]
    assert torch.equal(found, torch.where(classes == 1, foreground, 1 - foreground))
    assert torch.equal(found, torch.maximum(foreground, 1 - foreground)) is (threshold == 0.5)
