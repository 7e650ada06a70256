"""End of a sweep: its results, the true state of its run, and what a person reads."""

from typing import Any

from optuna.trial import TrialState

from trainer.search import results
from trainer.search.runner import Runner
from trainer.search.study import Study
from trainer.search.trial import describe
from trainer.system.atomic import why_not_written
from trainer.system.entry import EXIT_FAILED
from trainer.system.installation import command
from trainer.system.signals import EXIT_STOPPED
from trainer.system.terminal import Display
from trainer.system.text import quote
from trainer.tracking import store
from trainer.tracking.run import Run

COMPARED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of trials that were measured against others."""

FLUSH_SECONDS, FLUSH_SECONDS_STOPPED = 120.0, 10.0
"""Longest wait for the tracking server at the end, and after a signal, in seconds."""


def close(runner: Runner, display: Display, stopped: bool, again: str, problem: str) -> int:
    """Write the results, end the run, and print what was found; return the exit code.

    `stopped`: by a signal; `again`: the command that goes on; `problem`: why the trials ended early, or empty.
    """
    run, study = runner.run, runner.study
    problem = problem or (runner.hopeless and f"the first trials all failed: {runner.hopeless}")
    verdict = "" if problem else _verdict(runner)
    if not stopped and not problem:
        problem = _record(runner, verdict)
    state, status, code = "finished", "FINISHED", 0
    if stopped:
        state, status, code = "preempted", "KILLED", EXIT_STOPPED
    elif problem:
        state, status, code = "failed", "FAILED", EXIT_FAILED
    reason = problem or ("stopped by a signal" if stopped else "")
    details: dict[str, Any] = {"exit_code": code} | ({"reason": reason} if reason else {})
    run.end(status)
    run.status(state, **details)
    sent = run.flush(FLUSH_SECONDS_STOPPED if stopped else FLUSH_SECONDS)
    run.status(state, **details)
    run.close()
    if problem:
        display.log(f"failed: {problem}", "red")
    else:
        _show_results(runner, display, verdict)
    if stopped or problem or unfinished(study) or len(study.trials()) < runner.limits.trials:
        display.log(f"continue with:  {again}")
    _show_run(run, sent, display)
    study.close()
    return code


def unfinished(study: Study) -> bool:
    """Return whether a trial has begun and not ended, on whichever machine."""
    return any(not one.state.is_finished() for one in study.trials())


def _record(runner: Runner, verdict: str) -> str:
    """Write and record the results; return what is wrong with them, or nothing."""
    try:
        results.record(runner.run, runner.folder, runner.study, runner.config, runner.space, verdict)
    except OSError as error:
        return why_not_written(runner.folder.path, error)
    return "" if runner.study.best() else "no trial has succeeded"


def _verdict(runner: Runner) -> str:
    """Say whether the best trial differs from the first one; empty where that cannot be said."""
    from trainer.search.verdict import compare_with_first  # loads torch

    best = runner.study.best()
    compared = sum(one.state in COMPARED for one in runner.study.trials())
    return compare_with_first(runner.folder, best.number, compared, runner.limits.folds) if best else ""


def _show_results(runner: Runner, display: Display, verdict: str) -> None:
    """Print how the trials have ended, and the best settings."""
    trials, best = runner.study.trials(), runner.study.best()
    counts = {word: sum(one.state == state for one in trials) for state, word in results.STATES.items()}
    shown = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    display.log(f"{len(trials)} of {runner.limits.trials} trials: {shown or 'none'}", "bold")
    if best:
        found = describe(runner.space.settings(best.params))
        display.log(f"best: trial {best.number}, best/miou {best.values[0]:.4f}: {found}")
        if verdict:
            display.log(f"  {verdict}")
        display.log("train with these settings:")
        display.log(f"  {results.use_command(runner.folder)}")


def _show_run(run: Run, sent: bool, display: Display) -> None:
    """Print where to look at the sweep; and where not all is `sent`, what sends the rest."""
    display.log(f"sweep folder: {run.folder}")
    if not run.tracked:
        return
    if not sent:
        why = run.last_error or "no answer in time"
        display.log(f"{run.folder.unsent_records()} records are not sent yet ({why}); send them with", "yellow")
        display.log(f"  {command('sync')} {quote(run.folder)}", "yellow")
    info = run.folder.read_run()
    display.log(f"look at run {info['run_name']} in experiment {info['experiment']}:  {store.ui_command()}", "bold")
