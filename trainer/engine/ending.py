"""End of a run, however it comes: closed truthfully and within a bounded time; and where to look and how to go on."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from trainer.config import Config
from trainer.system.atomic import why_not_written
from trainer.system.entry import EXIT_FAILED
from trainer.system.installation import command
from trainer.system.signals import EXIT_STOPPED
from trainer.system.terminal import Display
from trainer.system.text import quote
from trainer.tracking import store
from trainer.tracking.run import Run

if TYPE_CHECKING:  # loads torch, which a mistyped setting must not wait for
    from trainer.engine.loop import Trainer

FLUSH_SECONDS = 120.0
"""Longest wait for the tracking server at the end of a run, in seconds."""

FLUSH_SECONDS_STOPPED = 10.0
"""The same after a signal, of the 30 s that a launcher or a cluster leaves a process after asking it to stop."""

STATES = {"finished": ("FINISHED", 0), "preempted": ("KILLED", EXIT_STOPPED), "failed": ("FAILED", EXIT_FAILED)}
"""State in status.json -> status in MLflow, and exit code."""


@dataclass(frozen=True)
class Ending:
    """End of a run: all that it depends on, beside the state."""

    run: Run
    config: Config
    display: Display
    unregistered: str
    """Why the model is not registered, or not compared with the champion; empty where it is, or was not to be."""

    def end(self, state: str, trainer: "Trainer | None", **details: Any) -> int:
        """Close the run, and print where to look; `details` go into status.json. Returns the exit code."""
        status, code = STATES[state]
        if state == "finished" and self.unregistered:
            # Training is complete; what was asked for is not, unless the settings say that it may come later.
            code = EXIT_FAILED if self.config.tracking.required else 0
            details = {"reason": self._explain_unregistered()} | details
        if trainer is not None:
            step = trainer.state.step
            details = {"step": step, "epoch": step / trainer.loader.steps_per_epoch} | details
        run, log = self.run, self.display.log
        try:
            run.end(status)
            run.status(state, exit_code=code, **details)
        except OSError as error:
            state, code, details = self._end_on_full_disk(state, code, details, error)
        sent = run.flush(FLUSH_SECONDS_STOPPED if code == EXIT_STOPPED else FLUSH_SECONDS)
        with suppress(OSError):  # all but the number of records that are not sent is written already
            run.status(state, exit_code=code, **details)
        with suppress(OSError):
            run.close()
            if state == "finished":  # the model is saved: nothing is left to resume
                self._clear_checkpoints()
        if state != "finished":
            reason = details.get("reason", "")
            log(f"failed: {reason}" if state == "failed" else reason, "red")
            log(f"continue with:  {run.status_fields['resume']}")
        log(f"run folder: {run.folder}")
        if run.tracked:
            self._show_run(sent)
        return code

    def _explain_unregistered(self) -> str:
        """Sentence about the part of registration or promotion that is missing; what failed may be sent by now."""
        made = self.run.folder.read_version()
        if "version" not in made:
            name = self.config.registry.name
            return f"the training is finished, but its model is not registered as {name}: {self.unregistered}"
        model = f"models:/{made['name']}/{made['version']}"
        return f"registered {model}, but whether it is the new champion is not decided: {self.unregistered}"

    def _end_on_full_disk(
        self, state: str, code: int, details: dict[str, Any], error: OSError
    ) -> tuple[str, int, dict[str, Any]]:
        """State, exit code and details of a run whose end cannot be written: what is not on the disk is not finished.

        Small files may find room where larger ones did not.
        """
        text = why_not_written(self.run.folder.path, error)
        if state != "finished":
            self.display.log(text, "red")
        else:
            state, code, details = "failed", STATES["failed"][1], details | {"reason": text}
        with suppress(OSError):
            self.run.status(state, exit_code=code, **details)
        with suppress(OSError):
            self.run.end(STATES[state][0])
        return state, code, details

    def _clear_checkpoints(self) -> None:
        from trainer.engine.checkpoint.folder import CheckpointFolder

        folder = self.run.folder
        warn = partial(self.display.log, style="yellow")
        CheckpointFolder(folder.checkpoints, warn=warn).clear(folder.last_checkpoint)

    def _show_run(self, sent: bool) -> None:
        """Print where to look at the run; and where not all is `sent`, what sends the rest."""
        run, log = self.run, self.display.log
        unsent = run.folder.unsent_records()
        if self.unregistered:
            log(self._explain_unregistered(), "red")
        if not sent:
            log(f"{unsent} records are not sent yet ({run.last_error or 'no answer in time'})", "yellow")
        if self.unregistered or not sent:
            log("Complete this, once the store can be written to, with", "yellow")
            log(f"  {command('sync')} {quote(run.folder)}", "yellow")
        if refused := run.folder.describe_refused():
            log(refused, "yellow")
        info = run.folder.read_run()
        log(f"look at run {info['run_name']} in experiment {info['experiment']}:  {store.run_page(info)}", "bold")
