"""What a person sees of a sweep under way."""

import io
from pathlib import Path

from rich.console import Console

from trainer.search.board import Board
from trainer.search.space import Choice, Space
from trainer.search.study import Study
from trainer.system.terminal import Display

SPACE = Space({"model.norm": Choice(("batch", "group"))}, {})


def board_on(console: Console) -> Board:
    display = Display()
    display.console = console
    return Board(display, trials=8, jobs=1)


def test_a_terminal_shows_how_far_it_is(tmp_path: Path) -> None:
    study = Study(f"sqlite:///{tmp_path}/study.db", "s", 0)
    shown = io.StringIO()
    board = board_on(Console(file=shown, force_terminal=True, width=160, highlight=False))
    board.start()
    for _ in range(3):
        study.ask(SPACE, 8, {})
    board.show(study, running=3, limit_s=None)
    study.complete(0, 0.25)
    study.complete(1, 0.75)
    board.show(study, running=1, limit_s=100)
    board.log("trial 1: best/miou 0.7500")
    board.progress.refresh()
    board.close()
    text = shown.getvalue()
    assert "trial 3 of 8" in text
    assert "best 0.7500 (trial 1)" in text
    assert " left" in text
    assert "trial 1: best/miou 0.7500" in text
    assert 0 < (board._left_s(study.trials()[:2], None) or 0) < 3600  # six more at the pace of two
    assert board._left_s(study.trials()[:2], 0.001) == 0.001
    assert board._left_s([], None) is None


def test_a_file_gets_lines_alone(tmp_path: Path) -> None:
    study = Study(f"sqlite:///{tmp_path}/study.db", "s", 0)
    shown = io.StringIO()
    board = board_on(Console(file=shown, width=160, highlight=False))
    board.start()
    board.show(study, running=1, limit_s=None)
    board.log("trial 0 begins")
    board.close()
    assert shown.getvalue() == "trial 0 begins\n"
