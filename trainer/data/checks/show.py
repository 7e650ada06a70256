"""The report on a data folder as the terminal shows it."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from trainer.system.terminal import Display

if TYPE_CHECKING:
    from trainer.data.checks.report import Report

STYLES = {"error": "red", "warning": "yellow"}
MOST_LINES = 100


def show_report(report: "Report", display: Display) -> None:
    """The summary, the classes, and the findings, errors last: they stay in sight."""
    summary = report.summary
    if "classes" in summary:
        _overview(summary, display)
        display.console.print(_classes(summary["classes"]))
    for level in ("warning", "error"):
        found = report.of(level)
        for finding in found[:MOST_LINES]:
            display.log(f"{level}: {finding.text}", STYLES[level])
        if len(found) > MOST_LINES:
            display.log(f"... and {len(found) - MOST_LINES} more; --json FILE has them all", STYLES[level])
    counted = [f"{len(report.of(level))} {level}{'s' if len(report.of(level)) != 1 else ''}" for level in STYLES]
    display.log(", ".join(counted), "bold")


def _overview(summary: dict[str, Any], display: Display) -> None:
    sizes = [
        f"{name.replace('_', ' ')} {size['width']}x{size['height']} ({size['pictures']})"
        for name, size in summary["sizes"].items()
    ]
    unreadable = f", {summary['unreadable']} cannot be used" if summary["unreadable"] else ""
    rows = {
        "pictures": f"{summary['pictures']}: {summary['train']} train, {summary['val']} validate{unreadable}",
        "sizes": ", ".join(sizes),
        "kinds": ", ".join(f"{kind} ({number})" for kind, number in summary["kinds"].items()),
        "turned by EXIF": f"{summary['rotated']}",
        "without a class": f"{summary['empty']}",
        "mask values": ", ".join(f"{value} ({pixels:,} pixels)" for value, pixels in summary["values"].items()),
    }
    for name, text in rows.items():
        display.log(f"{name:17}{text}")


def _classes(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for name in ("id", "of pixels", "of pictures", "train", "validate"):
        table.add_column(name, justify="right")
    for row in rows:
        shares = f"{row['pixel_share']:.2%}", f"{row['picture_share']:.1%}"
        table.add_row(Text(row["name"]), f"{row['id']}", *shares, f"{row['train']}", f"{row['val']}")
    return table
