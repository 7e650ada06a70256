"""Make a data folder.

python trainer/prepare.py synthetic OUT --count 200
"""

import argparse
import sys
from pathlib import Path

from trainer import InputError


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 wrong usage or data."""
    parser = argparse.ArgumentParser(prog="prepare.py", description="Make a data folder.")
    commands = parser.add_subparsers(dest="command", required=True)
    synthetic = commands.add_parser("synthetic", help="draw scenes with cats and their exact masks")
    synthetic.add_argument("out", type=Path, help="folder to make")
    synthetic.add_argument("--count", type=int, default=200, help="pictures (200)")
    synthetic.add_argument("--size", type=int, default=256, help="side in pixels (256)")
    synthetic.add_argument("--seed", type=int, default=0, help="another seed draws other scenes (0)")
    synthetic.add_argument(
        "--classes", nargs="+", default=["cat"], help="what is labelled; the rest is background (cat)"
    )
    synthetic.add_argument("--labelme", action="store_true", help="write Labelme JSON instead of masks")
    options = parser.parse_args(arguments)
    try:
        return draw(options)
    except InputError as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 2


def draw(options: argparse.Namespace) -> int:
    from trainer.data.synthetic import write_labelme, write_voc
    from trainer.drawing.display import Display

    for name, least in (("count", 1), ("size", 32), ("seed", 0)):
        if getattr(options, name) < least:
            raise InputError(f"--{name}: {getattr(options, name)} is not possible; give {least} or more")
    if options.out.exists():
        raise InputError(f"{options.out}: exists already; remove it or give another folder")
    display = Display()
    advance = display.counting("drawing", options.count)
    write = write_labelme if options.labelme else write_voc
    write(options.out, options.count, size=options.size, seed=options.seed, labelled=tuple(options.classes),
          progress=lambda _done: advance())  # fmt: skip
    display.say(f"{options.count} pictures in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
