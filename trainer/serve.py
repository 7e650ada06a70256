"""Serve a model over HTTP: for programs, for labelling tools, and for a page in the browser.

python trainer/serve.py --model models:/cat-unet@champion [--port 8000]
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports

    guard_imports("serve.py")

import functools

from trainer.serving.command_line import read_command
from trainer.system.command import explain_errors
from trainer.system.entry import leave, run_program
from trainer.system.installation import require
from trainer.system.output import prepare_output
from trainer.system.signals import StopSignals


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 2 wrong usage, address or model; 130 or 143 stopped by a signal, requests finished."""
    return run_program("serve.py", functools.partial(_main, arguments))


def _main(arguments: list[str] | None, stop: StopSignals) -> int:
    prepare_output(arguments)
    given = read_command(arguments)

    def work() -> int:
        require("serve", "the service")
        from trainer.serving.run import serve

        return serve(given, stop)

    return explain_errors("serve.py", work)


if __name__ == "__main__":
    leave(main())
