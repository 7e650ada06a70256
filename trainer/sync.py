"""Make the MLflow server equal to run folders: send what a run recorded while the server was away.

python trainer/sync.py [RUN_FOLDER ...]
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports

    guard_imports("sync.py")

import functools
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from trainer import InputError, redact
from trainer.config import MLRUNS, RegistryConfig
from trainer.system.command import explain_errors
from trainer.system.entry import leave, run_program
from trainer.system.installation import require, usage
from trainer.system.output import Parser, ShowVersion, prepare_output
from trainer.system.repair import repair
from trainer.system.run_folder import RunFolder, run_folders
from trainer.system.signals import StopSignals
from trainer.system.text import count_of, show

HELP = """Run folders, anywhere. A store that does not know a run gets all of it. Default: those in mlruns/work/ and
mlruns/evaluations/ with unsent records, or with a model that was not compared with the champion."""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 everything is sent, 1 a folder could not be sent whole, 2 wrong usage or no server.

    130 or 143: stopped by a signal; the next call sends the rest.
    """
    return run_program("sync.py", functools.partial(_main, arguments))


def _main(arguments: list[str] | None, _stop: StopSignals) -> int:
    prepare_output(arguments)
    parser = Parser(prog=usage("sync"), description="Send recorded runs to MLflow. Safe to repeat.")
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    parser.add_argument("folder", nargs="*", type=Path, help=HELP)
    options = parser.parse_args(arguments)

    def work() -> int:
        require("registry", "sending runs")
        return sync_all([RunFolder(path) for path in options.folder])

    return explain_errors("sync.py", work, MLRUNS)


def sync_all(folders: list[RunFolder]) -> int:
    """Send `folders`, or every tracked run with something unsent; return the exit code."""
    from trainer.tracking.store import probe, ui_command

    for folder in folders:
        if not folder.journal.is_file():
            raise InputError(f"{folder}: no run folder (journal.jsonl is missing)")
    # A store that is named with the folder is meant, whichever the run began in. (MLflow's own address is set below.)
    anywhere = bool(folders) and "MLFLOW_TRACKING_URI" in os.environ
    probe()
    tracked = failed = 0
    left: list[RunFolder] = []
    for folder in folders or recorded():
        try:
            for sentence in repair(folder):
                print(f"sync.py: {sentence}", file=sys.stderr)
            if not folders and not folder.read_run()["tracked"]:  # sent only when a person names it
                continue
        except (InputError, OSError) as error:  # the next folder may still be sent
            print(f"sync.py: {folder}: {error}", file=sys.stderr)
            failed += 1
            continue
        tracked += 1
        if folders or folder.unsent_records() or _undecided(folder):
            left.append(folder)
    if not tracked and not failed:
        raise InputError(f"{MLRUNS / 'work'}: no tracked runs there")
    if not left or any(anywhere or not _begun_elsewhere(folder) for folder in left):
        from trainer.tracking.server import connect

        connect()  # a store that refuses is the same for all
    failed += sum(not _sent(folder, anywhere) for folder in left)
    print(f"look at the runs:  {ui_command()}")
    return 1 if failed else 0


def recorded() -> list[RunFolder]:
    """Run folders of trainings, and of evaluations that were completed."""
    evaluations = [folder for folder in run_folders(MLRUNS / "evaluations") if folder.finished]
    return [*run_folders(MLRUNS / "work"), *evaluations]


def _undecided(folder: RunFolder) -> bool:
    """Return whether the run's model is registered, and the decision about the champion was cut off."""
    return folder.read_version().get("promoted", "unknown") is None


def _begun_elsewhere(folder: RunFolder) -> bool:
    from trainer.tracking.store import OtherStoreError, require_begun_here

    try:
        require_begun_here(folder)
    except OtherStoreError:
        return True
    return False


def _sent(folder: RunFolder, anywhere: bool) -> bool:
    """Send one run folder; return whether the store has all of it. An error is printed: the next may still be sent."""
    from trainer.tracking.errors import in_words
    from trainer.tracking.store import OtherStoreError

    try:
        return send(folder, anywhere)
    except OtherStoreError as error:  # names the folder, and the store that may have all of it
        print(f"sync.py: {error}", file=sys.stderr)
    except Exception as error:  # of MLflow, the database driver or the network
        left, why = folder.unsent_records(), redact(in_words(error))
        state = f"{left} records still unsent" if left else "the champion is still undecided"
        text = f"{state} ({why})" if left or _undecided(folder) else why
        print(f"sync.py: {folder}: {text}", file=sys.stderr)
    return False


def send(folder: RunFolder, anywhere: bool = False) -> bool:
    """Send what the store does not have of one run folder, and print what was sent. Returns whether it took all.

    `anywhere`: to the store in use, if the run began in another one.
    """
    from trainer.tracking.journal import damaged_records
    from trainer.tracking.server import connect_run, send_records
    from trainer.tracking.store import require_begun_here

    if not anywhere:
        require_begun_here(folder)
    client = connect_run(folder, anywhere)
    unsent = folder.unsent_records()
    refused = ""
    if unsent:
        if damaged := damaged_records(folder.journal):
            print(f"sync.py: {folder.journal}: {damaged} records are damaged, and left out", file=sys.stderr)
        send_records(client, folder)
        print(f"{show(folder)}: {count_of(unsent, 'record')} sent")
        if refused := folder.describe_refused():
            print(f"sync.py: {folder}: {refused}", file=sys.stderr)
    made = folder.read_version()
    if "version" in made and made.get("promoted") is None:
        print(f"  its model is {_decide(client, folder)}")
    return not refused


def _decide(client: Any, folder: RunFolder) -> str:
    """Complete the decision about the champion; return the version's address and the outcome."""
    from trainer.tracking.gate import Rules
    from trainer.tracking.promotion import decide
    from trainer.tracking.register import register_again

    folder.lock()  # a training that is ending decides by itself, and by its images
    register_again(client, folder)
    settings = yaml.safe_load(folder.config.read_text(encoding="utf-8"))["registry"]
    usual = RegistryConfig()  # an older program knew of less
    margin, drop = (settings.get(key, getattr(usual, key)) for key in ("margin", "max_class_drop"))
    decision = decide(client, folder, settings["promote"], rules=Rules(float(margin), float(drop)))
    name = folder.read_version()["name"]
    outcome = f"models:/{name}@champion" if decision.promoted else "not the champion"
    return f"models:/{name}/{decision.version}, {outcome}: {decision.reason}"


if __name__ == "__main__":
    leave(main())
