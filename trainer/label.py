"""Label with the model: the pictures that are worth most next, with predictions to correct, and rounds of training.

python trainer/label.py next POOL --model models:/cat-unet@champion --output TO_LABEL [--count 20]
python trainer/label.py accept TO_LABEL/p1.json ...
python trainer/label.py start PROJECT --labelled DIR --pool DIR --model NAME [--train.epochs 40 ...]
python trainer/label.py round PROJECT
python trainer/label.py status PROJECT
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports

    guard_imports("label.py")

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import InputError
from trainer.system.command import command_parser, run_command
from trainer.system.entry import leave
from trainer.system.installation import command, require
from trainer.system.signals import StopSignals, exit_code
from trainer.system.text import count_of, join, one_line, quote

if TYPE_CHECKING:
    from trainer.config import Config
    from trainer.labelling.next_images import Answer, Request
    from trainer.labelling.project import Project
    from trainer.system.terminal import Display

EXIT_SOME_FAILED = 3

MOST_PROBLEMS = 20
"""Pictures that could not be read or written of which a line each is printed."""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 failed while working, 2 wrong usage, folder or model, 3 some pictures failed.

    130 or 143: stopped by a signal; the same command goes on.
    """
    return run_command("label.py", read_command, arguments)


def read_command(arguments: list[str] | None) -> argparse.Namespace:
    """Options of a command line, and under `command` the function that it calls. Exits with 2 where it is wrong."""
    commands = {
        "next": _add_next,
        "accept": _add_accept,
        "start": _add_start,
        "round": _add_round,
        "status": _add_status,
    }
    parser = command_parser("label", "Label with the model: predictions to correct, and rounds.", commands)
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command is not start:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.settings = rest
    return options


def _print_problems(texts: Sequence[str]) -> None:
    for text in texts[:MOST_PROBLEMS]:
        print(f"label.py: {text}", file=sys.stderr)


def _count(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and 0 < len(text) < 10 and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text} is not possible; give 1 or more")
    return int(text)


# ---------------------------------------------------------------- next


def _add_next(commands: Any) -> None:
    parser = commands.add_parser("next", help="the pictures of a folder most worth labelling, with predictions")
    parser.add_argument("pool", type=Path, metavar="POOL", help="folder of pictures that are not labelled yet")
    parser.add_argument("--model", required=True, help="models:/name@alias, models:/name/3, or a model folder")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to label in, with Labelme")
    parser.add_argument("--count", type=_count, default=20, metavar="N", help="pictures (20)")
    parser.add_argument(
        "--labelled", type=Path, nargs="+", default=[], metavar="DIR", help="folders with labels: others come first"
    )
    parser.add_argument("--layout", default="auto", help="layout of these folders, as data.layout in training (auto)")
    parser.add_argument(
        "--form", choices=("polygons", "masks"), default="polygons", help="shapes; masks keep every pixel (polygons)"
    )
    parser.add_argument("--once", default="", metavar="NAME", help="do nothing where a call of this name is done")
    parser.add_argument(
        "--batch_size", type=_count, default=8, metavar="N", help="pictures that go through the network together"
    )
    parser.set_defaults(command=give)


def give(options: argparse.Namespace, stop: StopSignals) -> int:
    """Put the pictures that are worth most into the folder, with predictions; return the exit code."""
    from trainer.config import data_config
    from trainer.labelling.next_images import Request, choose_next, scan_folders
    from trainer.labelling.pool import use_hardware
    from trainer.labelling.prefill import only_call
    from trainer.labelling.refresh import untouched
    from trainer.system.terminal import Display

    data_config("--layout", layout=options.layout)  # says which there are
    request = Request(
        options.pool,
        options.output,
        options.count,
        options.labelled,
        options.layout,
        options.once,
        options.form,
        options.batch_size,
    )
    queue, pool = scan_folders(request)
    display = Display()
    to_do = pool.left or untouched(queue, pool.images) or not all(call.complete for call in queue.calls)
    if not to_do:
        display.log(_nothing_left(request, len(pool.images)))
        return 0
    from trainer.tracking.load import load_model

    model = load_model(options.model)
    use_hardware(model.segmenter)
    stop.defer()
    try:
        with only_call(request.output):
            queue, pool = scan_folders(request)  # another call may have ended meanwhile
            answer = choose_next(request, queue, pool, model, display.progress_bar, stop.requested)
    finally:
        display.close()
    _print_problems(answer.problems)
    for note in answer.notes:
        display.log(note)
    if answer.stopped:
        print("label.py: stopped; the same command continues", file=sys.stderr)
        return exit_code(stop.number)
    _show_answer(answer, request, len(pool.images), display)
    return EXIT_SOME_FAILED if answer.problems else 0


def _show_answer(answer: "Answer", request: "Request", images: int, display: "Display") -> None:
    """Say what a complete call has done; `images`: number in the pool."""
    if answer.refreshed:
        what = "1 prediction was" if answer.refreshed == 1 else f"{answer.refreshed} predictions were"
        display.log(f"{what} made anew by this model; nobody had touched what was there")
    for name, doubt in answer.images:
        display.log(f"  {doubt:4.0%}  {one_line(name)}")
    if not answer.images and not answer.left and answer.unreadable:
        unreadable = count_of(answer.unreadable, "picture")
        display.log(f"nothing new: all is labelled or in {request.output} but {unreadable} that cannot be read")
    elif not answer.images and not answer.left:
        display.log(_nothing_left(request, images))
    else:
        done = count_of(len(answer.images), "picture")
        display.log(f"{done} with predictions in {request.output}, by their worth, with the doubt about each")
        display.log(f"{answer.left} left in {request.pool}; correct those with\n  {_labelme(request.output)}")


def _nothing_left(request: "Request", images: int) -> str:
    return f"nothing is left of {request.pool}: {count_of(images, 'picture')}, all labelled or in {request.output}"


def _labelme(folder: Path) -> str:
    """Command of a shell that opens a folder, with its labels where they are known."""
    labels = folder / "labels.txt"
    return f"labelme {quote(folder)}" + (f" --labels {quote(labels)}" if labels.is_file() else "")


# ---------------------------------------------------------------- accept


def _add_accept(commands: Any) -> None:
    parser = commands.add_parser("accept", help="take predictions as labels, as they are")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="JSON files of Labelme, or folders of them")
    parser.set_defaults(command=accept_files)


def accept_files(options: argparse.Namespace, _stop: StopSignals) -> int:
    """Take the flag `predicted` off the files; return the exit code."""
    from trainer.labelling.accept import accept

    accepted, others = accept(options.files)
    if others:
        are = "it is: no prediction" if len(others) == 1 else "they are: no predictions"
        print(f"{count_of(len(others), 'file')} left as {are} that nobody has looked at")
    print(f"{count_of(len(accepted), 'file')} accepted")
    return 0


# ---------------------------------------------------------------- projects


def _add_start(commands: Any) -> None:
    parser = commands.add_parser(
        "start",
        help="make a project: labelled pictures, a pool, a model",
        epilog="Other options are settings of train.py for all rounds, such as --train.epochs 40.",
    )
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder to make")
    parser.add_argument(
        "--labelled", type=Path, nargs="+", required=True, metavar="DIR", help="folders with labels, as for data.root"
    )
    parser.add_argument("--pool", type=Path, required=True, metavar="DIR", help="folder of pictures not labelled yet")
    parser.add_argument("--model", required=True, metavar="NAME", help="name of the registered model")
    parser.add_argument(
        "--to_label", type=Path, default=Path("to_label"), metavar="DIR", help="folder to label in (PROJECT/to_label)"
    )
    parser.add_argument("--count", type=_count, default=20, metavar="N", help="pictures that each round adds (20)")
    parser.add_argument(
        "--launch",
        default="auto",
        metavar="COMMAND",
        help="what comes before trainer/train.py when you train, such as 'accelerate launch --config_file FILE'; none: "
        "one process (auto: accelerate launch where `accelerate config` was called or there are several GPUs)",
    )
    parser.set_defaults(command=start)


def start(options: argparse.Namespace, _stop: StopSignals) -> int:
    """Make a project; return the exit code."""
    from trainer.labelling.launch import check_launch
    from trainer.labelling.project import Project, settings_of, start_project

    training = settings_of(options.settings)
    labelled = tuple(options.labelled)
    # A folder that the command line names begins here, like all others; by itself it is the project's own.
    to_label = options.to_label if options.to_label == Path("to_label") else options.to_label.absolute()
    launch = check_launch(options.launch, Path.cwd())
    project = Project(options.project, labelled, options.pool, to_label, options.model, options.count, training, launch)
    _read_settings(project)
    start_project(project)
    print(f"{options.project} is made; the settings are in {options.project / 'project.yaml'}. Continue with")
    print(f"  {command('label')} round {quote(options.project)}")
    return 0


def _add_round(commands: Any) -> None:
    parser = commands.add_parser(
        "round", help="check the labels, train from the champion, compare, choose the next pictures"
    )
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder that `start` has made")
    parser.set_defaults(command=do_round)


def do_round(options: argparse.Namespace, _stop: StopSignals) -> int:
    """Do a round, or what is left of one that was stopped; return the exit code."""
    from trainer.labelling.project import only_round, open_project, open_state

    require("train", "a round")
    if "RANK" in os.environ:
        raise InputError("a round launches its trainings itself, by launch in project.yaml; start it with python alone")
    project = open_project(options.project)
    config = _read_settings(project)
    with only_round(project):
        from trainer.labelling.launch import launch_words
        from trainer.labelling.rounds import StepFailed, Steps, begin_round, count_labels, gpus
        from trainer.tracking.store import reachable

        state = open_state(project)
        labels = count_labels(project, config.data)
        reachable(config.tracking, lambda text, _style: print(text))
        one = begin_round(project, state, labels, lambda: _champion(project.model), print)
        again = f"{command('label')} round {quote(options.project)}"
        run = functools.partial(_run_step, launch_words(project.launch, gpus()))
        try:
            Steps(project, state, one, config, run, print).do_all()
        except StepFailed as failed:
            advice = f"{failed.advice}, and continue with" if failed.advice else "continue with"
            print(f"label.py: round {one.number}: {failed.step} did not end well; {advice}\n  {again}", file=sys.stderr)
            return failed.code
        print(f"round {one.number} is done, with {count_of(one.images, 'labelled picture')}; label, then continue with")
        print(f"  {again}")
    return 0


def _run_step(launch: list[str], entry: str, arguments: Sequence[str]) -> int:
    """Run an entry point, a training by the words of its launcher; return its exit code."""
    from trainer.system.child import run_entry

    if entry == "train" and launch:
        print(f"launched by {join(launch)}")
        return run_entry(entry, arguments, launch)
    return run_entry(entry, arguments)


def _read_settings(project: "Project") -> "Config":
    """Settings of the trainings of a project, checked as train.py does; ends with code 2 where one is wrong."""
    from trainer.cli import parse

    return parse(["--registry.name", project.model, *project.training_words()])


def _champion(name: str) -> str:
    """Address of the version that is champion now; empty where there is none."""
    from trainer.tracking import registry, server
    from trainer.tracking.errors import store_errors

    with store_errors():
        version = registry.champion(server.connect(), name)
    return f"models:/{name}/{version.version}" if version else ""


def _add_status(commands: Any) -> None:
    parser = commands.add_parser("status", help="what is labelled, what is left, and what more labels may bring")
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder that `start` has made")
    parser.set_defaults(command=show_status)


def show_status(options: argparse.Namespace, _stop: StopSignals) -> int:
    """Print the numbers of a project; return the exit code."""
    from trainer.labelling.project import open_project, open_state

    project = open_project(options.project)
    config = _read_settings(project)
    state = open_state(project)
    from trainer.data.sources import find_sources
    from trainer.labelling import tally
    from trainer.labelling.next_images import Request, scan_folders

    sources = find_sources(config.data, project.roots)
    layout = config.data.layout
    left = 0
    with suppress(InputError):  # an empty pool
        _, pool = scan_folders(Request(project.pool, project.to_label, labelled=project.labelled, layout=layout))
        left = len(pool.left)
    found = tally.count(project, len(sources.samples), left)
    for line in tally.describe(project, state, found):
        print(line)
    _print_problems(sources.problems)
    return 0


if __name__ == "__main__":
    leave(main())
