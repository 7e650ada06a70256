"""Output of the report on a data folder to the terminal."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from trainer.system.terminal import Display
from trainer.system.text import show

if TYPE_CHECKING:
    from trainer.data.checks.report import Report

STYLES = {"error": "red", "warning": "yellow"}
"""Level of a finding -> its style in the terminal."""

MOST_LINES = 100
"""Findings of each level that are shown."""


def show_report(report: "Report", display: Display) -> None:
    """Show the summary, the classes and the findings; errors last, so that they stay in sight."""
    summary = report.summary
    if "classes" in summary:
        _show_summary(summary, display)
    if report.account.count:
        display.log(f"{'left out':17}{report.account.summary()}")
    if "classes" in summary:
        display.console.print(_class_table(summary["classes"]))
    for level in ("warning", "error"):
        findings = report.of(level)
        for finding in findings[:MOST_LINES]:
            display.log(f"{level}: {finding.text}", STYLES[level])
        if len(findings) > MOST_LINES:
            display.log(f"... and {len(findings) - MOST_LINES} more; --json FILE has them all", STYLES[level])
    counts = {level: len(report.of(level)) for level in STYLES}
    display.log(", ".join(f"{count} {level}{'s' if count != 1 else ''}" for level, count in counts.items()), "bold")


def _show_summary(summary: dict[str, Any], display: Display) -> None:
    """Show the counts of the summary, one a line."""
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
    if "levels" in summary:
        levels = {name: value if name == "pictures" else f"{value:g}" for name, value in summary["levels"].items()}
        text = "{lowest} to {highest} in {pictures} pictures of more than 8 bits; {black} is black, {white} is white"
        rows["levels"] = text.format(**levels)
    for number, band in enumerate(summary.get("bands", ()), start=1):
        text = "{lowest:g} to {highest:g}; {black:g} is black, {white:g} is white"
        rows[f"band {number}"] = text.format(**band)
    if "squeeze" in summary:
        text = "IoU {miou:.3f} is left of the masks of {pictures} pictures; data.view auto: {view}"
        rows[f"resized to {summary['squeeze']['image_size']}"] = text.format(**summary["squeeze"])
    for name, text in rows.items():
        display.log(f"{name:17}{text}")


def _class_table(rows: list[dict[str, Any]]) -> Table:
    """Table with one row for each class."""
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for name in ("id", "of pixels", "of pictures", "train", "validate"):
        table.add_column(name, justify="right")
    for row in rows:
        shares = f"{row['pixel_share']:.2%}", f"{row['picture_share']:.1%}"
        table.add_row(Text(show(row["name"])), f"{row['id']}", *shares, f"{row['train']}", f"{row['val']}")
    return table
