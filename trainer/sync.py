"""Make the MLflow server equal to run folders: send what a run recorded while the server was away.

python trainer/sync.py [RUN_FOLDER ...]
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from trainer import EXIT_INPUT, InputError, printable, redact
from trainer.config import MLRUNS
from trainer.system.output import Parser, prepare_output
from trainer.system.run_folder import RunFolder, run_folders
from trainer.system.text import show

HELP = """Run folders, anywhere. A store that does not know a run gets all of it. Default: those in mlruns/work/ with
unsent records."""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 everything is sent, 1 a folder could not be sent whole, 2 wrong usage or no server."""
    prepare_output(arguments)
    parser = Parser(prog="sync.py", description="Send recorded runs to MLflow. Safe to repeat.")
    parser.add_argument("folder", nargs="*", type=Path, help=HELP)
    options = parser.parse_args(arguments)
    try:
        return sync_all([RunFolder(path) for path in options.folder])
    except InputError as error:
        print(f"sync.py: {error}", file=sys.stderr)
        return EXIT_INPUT


def sync_all(folders: list[RunFolder]) -> int:
    """Send `folders`, or every tracked run with something unsent; return the exit code."""
    from trainer.tracking.store import probe, ui_command

    for folder in folders:
        if not folder.journal.is_file():
            raise InputError(f"{folder}: no run folder (journal.jsonl is missing)")
    probe()
    if not folders:
        # A run with tracking off is sent only when a person names it.
        tracked = [folder for folder in run_folders(MLRUNS / "work") if folder.read_run()["tracked"]]
        if not tracked:
            raise InputError(f"{MLRUNS / 'work'}: no tracked runs there")
        folders = [folder for folder in tracked if folder.unsent_records()]
    failed = 0
    for folder in folders:
        try:
            send(folder)
        except Exception as error:  # the next folder may still be sent
            failed += 1
            left = folder.unsent_records()
            text = printable(redact(f"{folder}: {left} records still unsent ({error})"))
            print(f"sync.py: {text}", file=sys.stderr)
    print(f"look at the runs:  {ui_command()}")
    return 1 if failed else 0


def send(folder: RunFolder) -> None:
    """Send what the store does not have of one run folder, and print what was sent."""
    from trainer.tracking.server import connect_run, send_records

    client = connect_run(folder)
    unsent = folder.unsent_records()
    if not unsent:
        return
    send_records(client, folder)
    print(f"{show(folder)}: {unsent} records sent")
    made = folder.read_version()
    if made:
        print(f"  its model is models:/{made['name']}/{made['version']}; {_first_champion(client, folder, made)}")


def _first_champion(client: Any, folder: RunFolder, made: dict[str, str]) -> str:
    """Make a version the champion where there is none. Comparing two takes the images, so it is left to training."""
    from trainer.tracking import registry

    promote = yaml.safe_load(folder.config.read_text())["registry"]["promote"]
    if registry.champion(client, made["name"]) is not None:
        return "it was not compared with the champion"
    if promote == "never":
        return "registry.promote is never, so there is no champion"
    registry.set_champion(client, made["name"], made["version"])
    return f"it is the first, so models:/{made['name']}@champion"


if __name__ == "__main__":
    sys.exit(main())
