"""Life of a run: begun or resumed, described, registered, ended. Real on the main process, null on the others.

Nothing else in the program asks which process is the main one.
"""

import functools
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import InputError, redact
from trainer.config import MLRUNS, Config, flatten, to_yaml
from trainer.engine.checkpoint.choice import WORDS
from trainer.system import launcher
from trainer.system.atomic import why_not_written
from trainer.system.entry import EXIT_FAILED, is_main_process
from trainer.system.installation import command
from trainer.system.run_folder import RunFolder, describe_run, new_run_folder, run_folder_of
from trainer.system.signals import EXIT_STOPPED, StopSignals
from trainer.system.terminal import Display
from trainer.system.text import quote
from trainer.tracking import store
from trainer.tracking.names import NOTE, run_name
from trainer.tracking.run import Run, log_settings, open_run, run_title

if TYPE_CHECKING:  # these load torch, which a mistyped setting must not wait for
    from trainer.data.dataset import Dataset
    from trainer.engine.callback import Callback
    from trainer.engine.checkpoint.resume import Start
    from trainer.engine.loop import Trainer
    from trainer.model.training_images import TrainingImages

FLUSH_SECONDS = 120.0
"""Longest wait for the tracking server at the end of a run, in seconds."""

FLUSH_SECONDS_STOPPED = 10.0
"""The same after a signal, of the 30 s that a launcher or a cluster leaves a process after asking it to stop."""

SILENT_SECONDS = 10.0
"""Time that a process waits for the main one to report the same error, in seconds."""

STATES = {"finished": ("FINISHED", 0), "preempted": ("KILLED", EXIT_STOPPED), "failed": ("FAILED", EXIT_FAILED)}
"""State in status.json -> status in MLflow, and exit code."""


class Lifecycle:
    """Run of the main process, which displays, tracks and writes."""

    def __init__(self, config: Config, display: Display | None = None) -> None:
        """`display`: that of a program which has shown the settings already."""
        self.config, self.display = config, display or Display()
        if display is None:
            self.display.settings(flatten(config), flatten(Config()))
        self.reachable = False
        self.chosen: RunFolder | None = None
        """Run folder to go on in, whatever `resume` says."""
        self.unregistered = ""
        """Why the model is not registered, or not compared with the champion; empty where it is, or was not to be."""

    def check_store(self) -> None:
        """Find out whether the tracking store answers. Raises InputError where it does not and has to."""
        if self.config.tracking.enabled and self.config.resume not in WORDS:
            store.require_begun_here(run_folder_of(self.config.resume))
        self.reachable = store.reachable(self.config.tracking, self.display.log)

    def show_data(self, dataset: "Dataset") -> None:
        """Print the warnings about the data, and what trains."""
        from trainer.data.checks.report import check_command

        count, seconds = len(dataset.sources.samples), dataset.stored.reading_seconds
        if seconds:
            self.display.log(f"{count} pictures read in {seconds:.1f} s, {count / seconds:.0f} images/s")
        account = dataset.sources.account
        if account.count:
            self.display.log(f"left out, {account.summary()}")
        warnings = [finding.text for finding in dataset.report.of("warning")]
        self.display.warnings(warnings, check_command(self.config.data))
        unlabelled = dataset.sources.unlabelled
        more = f", {len(unlabelled)} more train without labels" if unlabelled else ""
        self.display.log(
            f"{len(dataset.split.train)} pictures train, {len(dataset.split.val)} validate{more}; "
            f"classes: {', '.join(dataset.names[1:])}; dataset {dataset.digest}"
        )

    def begin(
        self, config: Config, dataset: "Dataset", hardware: Mapping[str, str], environment: dict[str, str]
    ) -> "Start | None":
        """Open a new run, or the one that `resume` names, and lock its folder.

        `config` is resolved. Returns what the other processes must know; errors are in it, for all to raise.
        """
        from trainer.engine.checkpoint.resume import Start

        try:
            return self._begin(config, dataset, hardware, environment)
        except OSError as error:
            return Start(error=InputError(why_not_written(MLRUNS / "work", error)))

    def _begin(
        self, config: Config, dataset: "Dataset", hardware: Mapping[str, str], environment: dict[str, str]
    ) -> "Start":
        from trainer.engine.checkpoint.resume import Start, find_run, numeric_changes

        self.config = config
        data, log = dataset.content(), self.display.log
        log("  ".join(f"{key.removeprefix('hardware.')} {value}" for key, value in hardware.items() if value))
        try:
            launched_by = launcher.identity() if launcher.restarted() else ""
            start = find_run(config, MLRUNS / "work", data, launched_by, self.chosen)
            for warning in start.warnings:
                log(f"warning: {warning}", "yellow")
            if start.finished:
                log(f"{start.folder} is finished; nothing is left to do", "bold")
                return start
            self.run = self._open(start, dataset)
        except InputError as error:
            return Start(error=error)
        facts = {**hardware, "data.class_names": ", ".join(dataset.names[1:])}
        if dataset.unlabelled is not None:
            facts["data.unlabelled_samples"] = str(len(dataset.sources.unlabelled))
        log_settings(self.run, config, facts, dataset.title, data)
        step = start.checkpoint.state.step if start.checkpoint else 0
        if start.folder is not None:
            log(f"run {self.run.folder.path.name} goes on after step {step}", "bold")
            self.run.resumed(step)
            changes = numeric_changes(start.checkpoint, environment, config) if start.checkpoint else []
            if changes:
                log(f"warning: the last bits of the numbers differ from now on: {'; '.join(changes)}", "yellow")
        self.run.status("running", step=step)
        log(f"all settings are in {self.run.folder.config}", "dim")
        log(f"should it stop, go on with:  {self.run.status_fields['resume']}", "dim")
        return start

    def _open(self, start: "Start", dataset: "Dataset") -> Run:
        from trainer.engine.comparison_images import find_holdout
        from trainer.model.training_images import of_hashes, write_training_images
        from trainer.tracking.ancestor import with_ancestor

        config, folder = self.config, start.folder
        if config.registry.eval_root is not None:
            find_holdout(config, dataset.names)  # now, and not at the end, is the time to say that it cannot be used
        if folder is None:
            tracking, title = config.tracking, run_name(self._run_title(dataset.title))
            name, experiment = tracking.run_name and run_name(tracking.run_name), redact(tracking.experiment)
            began = store.store_id() if tracking.enabled else None
            images = with_ancestor(of_hashes(*dataset.training_hashes()), config.model.init, dataset.digest)
            parent = Path(tracking.parent or "").name
            folder = new_run_folder(MLRUNS / "work", experiment, name, tracking.enabled, title, began, parent=parent)
            describe_run(folder, to_yaml(config), dataset.content(), dataset.report.to_json())
            write_training_images(folder.path, images)
        folder.lock()
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "launcher": launcher.identity()}
        status_fields = {"resume": self._resume_command(folder), **owner}
        new = start.folder is None
        model = config.registry.name
        return open_run(folder, config.tracking, new, self.reachable, self.display.log, status_fields, model)

    def _run_title(self, title: str) -> str:
        """Beginning of the name of a run on the data `title`."""
        return run_title(title, self.config)

    def _resume_command(self, folder: RunFolder) -> str:
        """Shell command that goes on with the run of `folder`."""
        return launcher.resume_command(folder.path)

    def _training_images(self, dataset: "Dataset") -> "TrainingImages":
        """Images that trained the model, as the run folder has them since the run began.

        Where it has not, nobody knows by now what has trained the model of model.init: its alias may have moved.
        """
        from trainer.model.training_images import of_hashes, read_training_images

        with suppress(InputError):  # a damaged file must not take the model from a finished training
            if found := read_training_images(self.run.folder.path):
                return found
        own = of_hashes(*dataset.training_hashes())
        return own if self.config.model.init is None else own.after(None)

    def callback(self, start: "Start", dataset: "Dataset", memory_gib: Callable[[], float]) -> "Callback":
        """Receiver of the events of training; `memory_gib` measures this process."""
        from trainer.data.sampler import Sampler
        from trainer.engine.assembly import class_counts
        from trainer.engine.rare_classes import Advice
        from trainer.engine.reporter import Reporter
        from trainer.system.usage import Usage

        data, train, tracking = self.config.data, self.config.train, self.config.tracking
        state = start.checkpoint.state if start.checkpoint else None
        return Reporter(
            self.run,
            self.display,
            dataset.validation,
            watch=tracking.watch,
            minutes=train.minutes,
            checkpoint_minutes=train.checkpoint_minutes,
            steps_per_epoch=Sampler(len(dataset.split.train), train.batch_size, 0, data.drop_last).steps_per_epoch,
            resumed_from=state.step if state else None,
            memory_gib=memory_gib,
            advice=Advice(class_counts(dataset), self.config, dataset.usual_side),
            evaluated_share=state.plan.share(state.evaluated_step or 0) if state else 0.0,
            usage=Usage(self.run.folder.path).sample if tracking.enabled and tracking.system_metrics else dict,
        )

    def describe(self, trainer: "Trainer", reasons: Sequence[str]) -> None:
        """Print how the network is trained on this machine, and log what it will see."""
        from trainer.engine.reporter import augmentation_sheet
        from trainer.engine.stopping import writing

        for reason in reasons:
            self.display.log(reason)
        size, compiled = trainer.size.micro_batch_size, trainer.train_step.compiled
        sheet = augmentation_sheet(trainer.loader, trainer.train_step.augment)
        with writing(self.run.folder.path):
            self.run.tags({"hardware.micro_batch_size": size, "hardware.compiled": compiled})
            if not self.run.has_image("augmented", 0):
                self.run.image("augmented", sheet, 0)

    def register(self, trainer: "Trainer", dataset: "Dataset", stop: StopSignals) -> None:
        """Calibrate the best weights, save them as the run's model, register it, and decide about the champion.

        Raises KeyboardInterrupt where a signal arrives; nothing of the training is lost then.
        """
        from trainer.engine.calibrate import calibrate
        from trainer.engine.final_evaluation import FinalEvaluation
        from trainer.engine.stopping import writing
        from trainer.model.model_folder import load_segmenter, save_segmenter
        from trainer.model.training_images import write_training_images
        from trainer.tracking.description import describe

        stop.interrupt_again()
        state, segmenter, run = trainer.state, trainer.train_step.segmenter, self.run
        segmenter.load_state_dict(trainer.best)
        calibration = calibrate(segmenter, dataset)
        segmenter.to("cpu")
        trainer.callback.on_images(segmenter, 0, "best")
        not_drawn = trainer.callback.error()
        if not_drawn:
            raise not_drawn
        model = run.folder.model
        with writing(model):
            save_segmenter(segmenter, model)
            write_training_images(model, self._training_images(dataset))
        evaluation = FinalEvaluation(run, state.step, calibration, dataset, segmenter, self._warn)
        with writing(run.folder.journal):
            run.tags({"best.miou": state.best_miou, "best.step": state.best_step})
            run.metrics(calibration.metrics() | {"best/step": float(state.best_step or 0)}, state.step)
            note = describe(
                self.config,
                dataset.content(),
                dataset.title,
                calibration.scores.iou,
                evaluation.card.interval,
                segmenter.contract.commit,
            )
            run.tags({NOTE: note})
        self.display.log(f"best: step {state.best_step}, {evaluation.card.sentence()}", "bold")
        if doubt := evaluation.card.warning():
            self._warn(f"{doubt}; train longer, and look whether the masks fit (prepare.py check, --sheet)")
        self.display.log(calibration.describe())
        name = self.config.registry.name
        if self.config.tracking.enabled and (name or not self.config.tracking.parent):
            from trainer.tracking.registry import export

            with writing(model):
                export(load_segmenter(model), model)
        evaluation.finish()
        if self.config.tracking.enabled:
            if name:
                contract = segmenter.contract
                tags = {"commit": contract.commit, "dataset_digest": contract.dataset_digest, NOTE: note}
                with writing(run.folder.journal):
                    run.register(name, tags | {"val/miou": f"{calibration.scores.miou}"})
            sent = run.flush(FLUSH_SECONDS)
            if name:
                self.unregistered = self._promote(dataset) if sent else run.last_error or "no answer in time"
        stop.defer()

    def _warn(self, text: str) -> None:
        self.display.log(f"warning: {text}", "yellow")

    def _promote(self, dataset: "Dataset") -> str:
        """Compare the new version with the champion, and print the outcome. Returns why that failed; empty if not."""
        from trainer.engine.comparison_images import make_scorers
        from trainer.tracking.errors import in_words
        from trainer.tracking.gate import Rules
        from trainer.tracking.promotion import decide
        from trainer.tracking.server import connect

        settings, folder, log = self.config.registry, self.run.folder, self.display.log
        made = folder.read_version()
        model, champion = f"models:/{made['name']}/{made['version']}", f"models:/{made['name']}@champion"
        failed, address = "", model
        try:
            scorers = make_scorers(self.config, dataset, MLRUNS / "cache", self.display.progress_bar)
            rules = Rules(settings.margin, settings.max_class_drop)
            decision = decide(self.run.client or connect(), folder, settings.promote, scorers, rules)
            outcome = "the new champion" if decision.promoted else "not the champion"
            log(f"registered {model}, {outcome}: {decision.reason}", "bold")
            address = champion if decision.promoted else model
        except Exception as error:  # a registry that fails now takes nothing from a finished training
            failed = in_words(error)
            log(f"registered {model}")
        log("use it with")
        log(f"  {command('predict')} --model {quote(address)} --input PICTURES --output OUT")
        return failed

    def _explain_unregistered(self) -> str:
        """Sentence about the part of registration or promotion that is missing; what failed may be sent by now."""
        made = self.run.folder.read_version()
        if "version" not in made:
            name = self.config.registry.name
            return f"the training is finished, but its model is not registered as {name}: {self.unregistered}"
        model = f"models:/{made['name']}/{made['version']}"
        return f"registered {model}, but whether it is the new champion is not decided: {self.unregistered}"

    def end(self, state: str, trainer: "Trainer | None", **details: Any) -> int:
        """Close the run truthfully, within a bounded time, and print where to look. Returns the exit code."""
        self.display.close()
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
            log(f"go on with:  {run.status_fields['resume']}")
        log(f"run folder: {run.folder}")
        if run.tracked:
            self._show_run(sent)
        return code

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
        warn = functools.partial(self.display.log, style="yellow")
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
            log("Complete this, when the store can be written to, with", "yellow")
            log(f"  {command('sync')} {quote(run.folder)}", "yellow")
        if refused := run.folder.describe_refused():
            log(refused, "yellow")
        info = run.folder.read_run()
        log(f"look at run {info['run_name']} in experiment {info['experiment']}:  {store.run_page(info)}", "bold")

    def refuse(self, error: InputError, _stop: StopSignals) -> None:
        """Print an error that was found before any work."""
        self.display.close()
        print(f"train.py: {error}", file=sys.stderr)


class NullLifecycle:
    """Stand-in on the processes that compute while the main one displays, tracks and writes."""

    def __init__(self, _config: Config) -> None:
        self.display = Display(quiet=True)

    def check_store(self) -> None:
        """Leave it to the main process."""

    def show_data(self, _dataset: "Dataset") -> None:
        """Print nothing."""

    def begin(self, *_given: object) -> "Start | None":
        """Return None: the main process broadcasts its Start."""
        return None

    def callback(self, *_given: object) -> "Callback":
        """Return a callback that does nothing."""
        from trainer.engine.callback import NullCallback

        return NullCallback()

    def describe(self, _trainer: "Trainer", _reasons: Sequence[str]) -> None:
        """Print nothing."""

    def register(self, _trainer: "Trainer", _dataset: "Dataset", _stop: StopSignals) -> None:
        """Leave it to the main process."""

    def end(self, state: str, _trainer: "Trainer | None", **_details: Any) -> int:
        """Return the exit code."""
        return STATES[state][1]

    def refuse(self, error: InputError, stop: StopSignals) -> None:
        """Print an error that only this process has found: for others, the launcher ends it meanwhile."""
        if not stop.wait(SILENT_SECONDS):
            print(f"train.py: {error}", file=sys.stderr)


AnyLifecycle = Lifecycle | NullLifecycle


def lifecycle(config: Config) -> AnyLifecycle:
    """Lifecycle of this process: real on the main one."""
    return Lifecycle(config) if is_main_process() else NullLifecycle(config)
