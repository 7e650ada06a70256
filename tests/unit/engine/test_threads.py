"""train.threads auto: which number is taken by the time of a step, what measuring costs, and when it is done again."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
import torch

from tests.support.training import Recorder, same_tensors, weights
from trainer.engine.checkpoint.format import Checkpoint
from trainer.engine.checkpoint.resume import numeric_changes
from trainer.engine.loop import Trainer
from trainer.engine.threads import FEWEST_STEPS, MOST_TIMES, SHARE, AutoThreads, threads_at_resume, threads_at_start

Maker = Callable[..., Trainer]

IDLE_2 = {1: 0.163, 2: 0.104}
BESIDE_ONE_2 = {1: 0.2, 2: 1.3}
IDLE_8 = {number: 0.02 + 0.7 / number for number in range(1, 9)}
BESIDE_ONE_8 = IDLE_8 | {8: 1.9}
BESIDE_TWO_8 = BESIDE_ONE_8 | {7: 1.8}
CROWDED_8 = {number: 0.9 if number == 1 else 0.5 * number for number in range(1, 9)}


@dataclass
class Machine:
    """Machine whose steps take so many seconds with each number of threads; its clock stands still between them."""

    seconds: Mapping[int, float]
    now_s: float = 0.0
    number: int = 0
    steps: Counter[int] = field(default_factory=Counter)

    def threads(self, most: int) -> AutoThreads:
        return AutoThreads(most, apply=self.apply, clock=lambda: self.now_s)

    def apply(self, number: int) -> None:
        self.number = number

    def step_s(self) -> float:
        self.steps[self.number] += 1
        self.now_s += self.seconds[self.number]
        return self.seconds[self.number]

    def measure(self, threads: AutoThreads, steps: int = 3000, seconds_left: float = float("inf")) -> str:
        return threads.measure(self.step_s, 128, steps, seconds_left)

    def train(self, threads: AutoThreads, steps: int) -> None:
        for _ in range(steps):
            threads.count_step(128, self.step_s())


@pytest.mark.parametrize(
    ("seconds", "number"),
    [(IDLE_2, 2), (BESIDE_ONE_2, 1), (IDLE_8, 8), (BESIDE_ONE_8, 7), (BESIDE_TWO_8, 6), (CROWDED_8, 1)],
    ids=["idle 2", "beside one 2", "idle 8", "beside one 8", "beside two 8", "crowded 8"],
)
def test_the_fastest_number_is_taken(seconds: dict[int, float], number: int) -> None:
    machine = Machine(seconds)
    threads = machine.threads(len(seconds))
    threads.begin()
    assert machine.number == len(seconds)
    text = machine.measure(threads, 6000)
    assert threads.number == machine.number == number
    assert text.startswith(f"train.threads {number}: a step takes {seconds[number]:.2g} s")


@pytest.mark.parametrize("cpus", [2, 3, 4, 8, 64])
def test_measuring_costs_little_of_an_idle_machine(cpus: int) -> None:
    """Under 2 % of the shortest training for which it is done, by what that takes with the number that is chosen."""
    seconds = {number: 0.01 + 0.2 / number for number in range(1, cpus + 1)}
    for steps in (FEWEST_STEPS, 1000, 3000):
        machine = Machine(seconds)
        threads = machine.threads(cpus)
        threads.begin()
        machine.measure(threads, steps)
        assert machine.now_s < 0.02 * steps * seconds[cpus]
        assert threads.number == cpus


def test_a_short_training_measures_nothing() -> None:
    threads = Machine(IDLE_2).threads(2)
    assert not threads.worth_measuring(FEWEST_STEPS - 1)
    assert threads.worth_measuring(FEWEST_STEPS)
    machine = Machine(BESIDE_ONE_2)  # a minute is too short to try a second number
    threads = machine.threads(2)
    threads.begin()
    assert machine.measure(threads, 3000, seconds_left=60) == ""
    assert threads.number == machine.number == 2
    assert set(machine.steps) == {1}
    assert machine.measure(threads, 3000, seconds_left=2 * 4 * 0.2 / SHARE + 1) != ""


def test_one_cpu_measures_nothing() -> None:
    machine = Machine({})
    for most in (0, 1):
        threads = machine.threads(most)
        threads.begin()
        threads.resume({"threads_per_process": "1"})
        threads.count_step(128, 9.0)
        assert not threads.worth_measuring(10**6)
        assert not threads.due(10**6)
    assert machine.number == 0  # torch's own number is left as it is


def test_what_is_not_clear_changes_nothing() -> None:
    """Each change of the number changes the last bits: it has to be worth it."""
    for present in (1, 2):
        machine = Machine({1: 0.105, 2: 0.1})
        threads = machine.threads(2)
        threads.number = present
        machine.measure(threads)
        assert threads.number == machine.number == present


def test_the_slowest_process_decides() -> None:
    """Of two processes on different machines, one beside a neighbour, both take what is best for the slower one."""
    machine = Machine(IDLE_2)
    threads = machine.threads(2)
    threads.slowest = lambda own: max(own, BESIDE_ONE_2[machine.number])
    threads.begin()
    machine.measure(threads)
    assert threads.number == 1


def test_a_hopeless_number_is_given_up() -> None:
    """After one step, or two where preparing kernels may have made the first one slow."""
    for slow_s, steps in ((1.3, 1), (0.8, 2), (0.3, 4)):
        machine = Machine({1: 0.2, 2: slow_s})
        measured(machine)
        assert machine.steps == {1: 4, 2: steps}


def test_a_signal_ends_measuring() -> None:
    """Each step may take long beside others, and who asks a process to stop does not wait for many."""
    machine = Machine(IDLE_2)
    threads = machine.threads(2)
    threads.begin()
    assert threads.measure(machine.step_s, 128, 3000, 1e9, lambda: machine.steps.total() >= 2) == ""
    assert machine.steps.total() == 2
    assert threads.number == machine.number == 2


# ---------------------------------------------------------------- again


def measured(machine: Machine, most: int = 2) -> AutoThreads:
    threads = machine.threads(most)
    threads.begin()
    machine.measure(threads)
    return threads


def test_it_is_measured_again_when_steps_become_much_slower() -> None:
    machine = Machine(IDLE_2)
    threads = measured(machine)
    machine.train(threads, 200)
    assert not threads.due(2800)
    machine.seconds = BESIDE_ONE_2
    machine.train(threads, 50)
    assert not threads.due(FEWEST_STEPS - 1)
    assert threads.due(2750)
    machine.measure(threads)
    assert threads.number == 1
    machine.train(threads, 50)
    assert not threads.due(2700)


def test_smaller_images_are_no_slowdown() -> None:
    machine = Machine(IDLE_2)
    threads = measured(machine)
    for _ in range(50):
        threads.count_step(256, 4.4 * 0.104)
    assert not threads.due(3000)
    for _ in range(50):
        threads.count_step(256, 9 * 0.104)
    assert threads.due(3000)


def test_more_threads_are_tried_after_a_while() -> None:
    """Where fewer than all are in force, after pauses that double, in which trying is a small share."""
    machine = Machine(BESIDE_ONE_2)
    threads = measured(machine)
    began_s, spent_s, times = machine.now_s, 0.0, []
    for _ in range(200):
        machine.train(threads, 50)
        if threads.due(10**6):
            times.append(machine.now_s)
            machine.measure(threads, 10**6)
            spent_s += machine.now_s - times[-1]
    assert spent_s < 0.01 * (machine.now_s - began_s)
    assert 1 < len(times) < 6
    machine.seconds = IDLE_2
    while not threads.due(10**6):
        machine.train(threads, 50)
    machine.measure(threads, 10**6)
    assert threads.number == 2


def test_it_is_measured_a_few_times_only() -> None:
    machine = Machine(IDLE_2)
    threads = measured(machine)
    count = 0
    for _ in range(30):
        machine.seconds = {number: 1.6 * seconds for number, seconds in machine.seconds.items()}
        machine.train(threads, 50)
        if threads.due(10**6):
            count += 1
            machine.measure(threads, 10**6)
    assert count == MOST_TIMES


def test_a_resumed_run_keeps_its_number_and_looks_again_once() -> None:
    for stored, number in (("1", 1), ("2", 2), ("7", 2), ("", 2), ("many", 2)):
        machine = Machine(IDLE_2)
        threads = machine.threads(2)
        threads.resume({"threads_per_process": stored})
        assert threads.number == machine.number == number
    threads.resume({"threads_per_process": "2"})
    machine.train(threads, 50)
    assert threads.due(3000)
    machine.measure(threads)
    machine.train(threads, 50)
    assert not threads.due(3000)


# ---------------------------------------------------------------- a number that a person gives


@pytest.mark.parametrize(
    ("setting", "variable", "number", "reason"),
    [
        ("auto", None, 6, ""),
        ("auto", "3", 3, "train.threads 3, as OMP_NUM_THREADS says"),
        (2, "3", 2, ""),
        (0, "3", 6, ""),
    ],
)
def test_a_persons_number_stays(
    setting: int | str, variable: str | None, number: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert threads_at_start(setting, 6) == (number, reason)
    chosen = setting == "auto" and not variable
    assert threads_at_resume(setting, number, "1") == (1 if chosen else number)
    assert threads_at_resume(setting, number, "9") == number


# ---------------------------------------------------------------- in the loop


class Noting(Recorder):
    """Recorder of checkpoints after each step, and of what is said about threads."""

    def __init__(self) -> None:
        super().__init__()
        self.trainer: Trainer | None = None
        self.numbers: list[tuple[int, int]] = []
        self.saved: dict[int, Checkpoint] = {}

    def on_threads(self, number: int, text: str) -> None:
        assert self.trainer
        assert text.startswith(f"train.threads {number}")
        self.numbers.append((self.trainer.state.step, number))

    def on_step(self, step: int, values: dict[str, float]) -> None:
        super().on_step(step, values)
        assert self.trainer
        self.saved[step] = self.trainer.snapshot()


@pytest.fixture
def one_thread_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    torch.set_num_threads(1)


LONG = ["--train.epochs", "350", "--train.eval_every", "5", "--data.augment", "light"]
"""700 steps, with evaluations 10 steps apart."""

LAST = 40
"""Step after which the trainings here are stopped."""


def auto_trainer(make_trainer: Maker, recorder: Noting, seconds: Callable[[int, int], float]) -> Trainer:
    """Trainer with up to two threads, whose steps seem to take `seconds` of the number and the steps done."""
    trainer = make_trainer(*LONG, callback=recorder)
    recorder.trainer, trainer.threads = trainer, AutoThreads(2)
    measure, count = trainer.threads.measure, trainer.threads.count_step

    def seemingly() -> float:
        return seconds(torch.get_num_threads(), trainer.state.step)

    def measure_so(step_s: Callable[[], float], *rest: float) -> str:
        return measure(lambda: (step_s(), seemingly())[1], *rest)  # type: ignore[arg-type]

    trainer.threads.measure = measure_so  # type: ignore[method-assign,assignment]
    trainer.threads.count_step = lambda side, _seconds: count(side, seemingly())  # type: ignore[method-assign]
    trainer.stop_requested = lambda: trainer.state.step >= LAST - 1
    return trainer


def fit(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Train to the step at which it is stopped; weights and statistics."""
    with pytest.raises(Exception, match=f"stopped after step {LAST}"):
        trainer.fit()
    return weights(trainer)


def test_measuring_changes_no_bit(make_trainer: Maker, one_thread_after: None) -> None:
    """The weights are those of a training with the chosen number from the start, also after measuring again."""
    recorder, fixed = Noting(), Noting()
    trainer = auto_trainer(make_trainer, recorder, lambda number, step: number * (1.0 if step < 8 else 4.0))
    found = fit(trainer)
    assert recorder.numbers[:2] == [(0, 1), (20, 1)]
    fixed.trainer = same = make_trainer(*LONG, callback=fixed)
    same.stop_requested = lambda: same.state.step >= LAST - 1
    assert torch.get_num_threads() == 1
    assert same_tensors(fit(same), found)
    assert fixed.scores == recorder.scores
    optimizers = [one.train_step.snapshot()["optimizer"]["state"] for one in (trainer, same)]
    assert all(same_tensors(optimizers[0][place], optimizers[1][place]) for place in optimizers[0])


def test_a_change_is_in_the_checkpoint_and_resumed(make_trainer: Maker, one_thread_after: None) -> None:
    """Two threads at first, and one from an evaluation on; resumed before and after it, with the same bits."""

    def seconds(number: int, step: int) -> float:
        return 1 / number if step < 8 else 1.0 if number == 1 else 8.0

    recorder = Noting()
    whole = fit(auto_trainer(make_trainer, recorder, seconds))
    assert recorder.numbers[:2] == [(0, 2), (20, 1)]
    stored = {step: one.environment["threads_per_process"] for step, one in recorder.saved.items()}
    assert stored == {step: "2" if step <= 20 else "1" for step in stored}
    for step in (12, 33):
        again = auto_trainer(make_trainer, Noting(), seconds)
        again.callback.trainer = again  # type: ignore[attr-defined]
        again.restore(recorder.saved[step])
        assert torch.get_num_threads() == int(stored[step])
        assert same_tensors(fit(again), whole), step


def test_a_kept_number_is_no_change(make_trainer: Maker, one_thread_after: None) -> None:
    from trainer.cli import parse

    checkpoint = make_trainer("--train.epochs", "1").snapshot()
    checkpoint.environment["threads_per_process"] = "1"
    here = checkpoint.environment | {"threads_per_process": "2"}
    base = ["--data.root", "x"]
    assert numeric_changes(checkpoint, here, parse(base)) == []
    assert numeric_changes(checkpoint, here, parse([*base, "--train.threads", "2"])) == ["threads_per_process 1 -> 2"]
    checkpoint.environment["threads_per_process"] = "4"  # more than there are here
    assert numeric_changes(checkpoint, here, parse(base)) == ["threads_per_process 4 -> 2"]
