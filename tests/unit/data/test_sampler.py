"""Order of the samples: each once an epoch, by seed, epoch and step alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.sampler import Sampler, foreground_weights, micro_batches, share

COUNT, SIZE = st.integers(1, 200), st.integers(1, 40)


def epoch_of(sampler: Sampler, epoch: int) -> list[list[int]]:
    return [sampler.batch(epoch, step).tolist() for step in range(sampler.steps_per_epoch)]


@settings(max_examples=50, deadline=None)
@given(samples=COUNT, batch_size=SIZE, seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
def test_every_epoch_has_each_sample_once(samples: int, batch_size: int, seed: int, epoch: int) -> None:
    batches = epoch_of(Sampler(samples, batch_size, seed), epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(samples))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch_size


@settings(max_examples=50, deadline=None)
@given(samples=COUNT, batch_size=SIZE, seed=st.integers(0, 99), epoch=st.integers(0, 99))
def test_drop_last(samples: int, batch_size: int, seed: int, epoch: int) -> None:
    whole, dropped = (epoch_of(Sampler(samples, batch_size, seed, drop_last=last), epoch) for last in (False, True))
    if samples < batch_size:
        assert dropped == whole  # the only batch is not dropped
    else:
        assert dropped == [batch for batch in whole if len(batch) == batch_size]


def test_order_is_shuffled_and_depends_on_seed_and_epoch_only() -> None:
    order = epoch_of(Sampler(50, 8, seed=1), 0)
    assert [index for batch in order for index in batch] != list(range(50))
    assert epoch_of(Sampler(50, 8, seed=1), 0) == order
    assert epoch_of(Sampler(50, 8, seed=1), 1) != order
    assert epoch_of(Sampler(50, 8, seed=2), 0) != order
    assert epoch_of(Sampler(50, 8, seed=2), 0) != epoch_of(Sampler(50, 8, seed=1), 1)
    # Another batch size cuts the same order into other batches.
    assert np.array_equal(np.concatenate(epoch_of(Sampler(50, 7, seed=1), 0)), np.concatenate(order))


@settings(max_examples=25, deadline=None)
@given(calls=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=12))
def test_a_step_does_not_depend_on_earlier_calls(calls: list[tuple[int, int]]) -> None:
    sampler = Sampler(50, 8, seed=3)
    np.random.seed(0)  # noqa: NPY002  # the global generator has no effect either
    for epoch, step in calls:
        sampler.batch(epoch, step)
        np.random.random()  # noqa: NPY002
    for epoch, step in [*calls, (2, 3)]:
        assert np.array_equal(sampler.batch(epoch, step), Sampler(50, 8, seed=3).batch(epoch, step))


@given(batch=st.lists(st.integers(0, 99), max_size=40), processes=st.integers(1, 5))
def test_shares_partition_the_batch(batch: list[int], processes: int) -> None:
    shares = [share(batch, process, processes).tolist() for process in range(processes)]
    assert [index for part in shares for index in part] == batch
    sizes = [len(part) for part in shares]
    assert max(sizes) - min(sizes) <= 1


@given(batch=st.lists(st.integers(0, 99), min_size=1, max_size=40), processes=st.integers(1, 5), size=SIZE)
def test_micro_batches_partition_every_share_equally_often(batch: list[int], processes: int, size: int) -> None:
    shares = [share(batch, process, processes) for process in range(processes)]
    cut = [micro_batches(part, len(batch), processes, size) for part in shares]  # one list for each process
    assert [index for own in cut for micro in own for index in micro.tolist()] == batch
    assert all(len(micro) <= size for own in cut for micro in own)
    assert len({len(own) for own in cut}) == 1
    assert len(cut[0]) == -(-len(shares[0]) // size)  # the number that the largest share needs


@pytest.mark.parametrize("weights", [None, np.linspace(1, 3, 5000)])
def test_threads_share_one_order(weights: np.ndarray | None) -> None:
    """The order of an epoch is made once for all its steps and threads, and is read-only."""
    calls = [(step % 3, 7 * step) for step in range(200)]
    alone = Sampler(5000, 3, seed=4, weights=weights)
    expected = [alone.batch(*call).tolist() for call in calls]
    shared = Sampler(5000, 3, seed=4, weights=weights)
    with ThreadPoolExecutor(8) as pool:
        assert [batch.tolist() for batch in pool.map(lambda call: shared.batch(*call), calls)] == expected
    assert alone.order(1) is alone.order(1)
    assert alone.order(1) is not Sampler(5000, 3, seed=4).order(1)  # another sampler may have other weights
    with pytest.raises(ValueError, match="read-only"):
        alone.batch(0, 0)[0] = 7


@pytest.mark.parametrize(
    ("samples", "size", "drop", "steps"), [(10, 4, False, 3), (10, 4, True, 2), (8, 4, False, 2), (3, 4, True, 1)]
)
def test_steps_per_epoch(samples: int, size: int, drop: bool, steps: int) -> None:
    assert Sampler(samples, size, 0, drop).steps_per_epoch == steps


# ------------------------------------------------------------------------------------------------ foreground sampling


def test_weights_are_relative_frequencies() -> None:
    weights = np.array([1.0, 1.0, 1.0, 1.0, 4.0, 2.5])
    sampler = Sampler(6, 2, seed=3, weights=weights)
    exact = 6 * weights / weights.sum()
    total = np.zeros(6)
    for epoch in range(200):
        order = sampler.order(epoch)
        assert len(order) == 6
        counts = np.bincount(order, minlength=6)
        assert (np.abs(counts - exact) < 1).all()  # floor or ceil
        total += counts
    np.testing.assert_allclose(total / 200, exact, atol=0.1)
    assert np.array_equal(sampler.order(7), Sampler(6, 2, seed=3, weights=weights).order(7))
    assert not np.array_equal(sampler.order(7), sampler.order(8))
    steps = [sampler.batch(5, step) for step in range(sampler.steps_per_epoch)]
    assert np.array_equal(np.concatenate(steps), sampler.order(5))


def test_even_weights_give_each_sample_once() -> None:
    sampler = Sampler(9, 4, seed=0, weights=np.full(9, 2.0))
    assert sorted(sampler.order(0).tolist()) == list(range(9))


def test_foreground_weights() -> None:
    counts = np.array([[9, 1, 0], [9, 1, 0], [9, 1, 0], [9, 1, 3], [9, 0, 0], [9, 0, 0], [9, 0, 0], [9, 0, 0]])
    # Class 1 is in half of the images, class 2 in one of eight.
    expected = [2**0.5] * 3 + [8**0.5] + [1.0] * 4
    assert foreground_weights(counts) == pytest.approx(expected)
    assert foreground_weights(np.array([[5, 0], [5, 0]])).tolist() == [1.0, 1.0]
