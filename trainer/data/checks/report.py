"""Report on a dataset: its summary and everything found by the rules, for `prepare.py check` and before training.

The report as JSON (`Report.to_json`; it counts the images that could be read):

    pictures, train, val   number of images in all, for training and for validation
    unreadable             number of images that an error keeps out
    sizes                  {smallest, largest, most_common}, each {height, width, pictures}; by pixels, upright
    kinds                  format and mode -> number of images, such as {"JPEG RGB": 40}
    levels                 with images of more than 8 bits: {pictures, lowest, highest, black, white}; the levels found
                           in them, and those that become 0 and 255
    bands                  with data.channels other than 3: [{lowest, highest, black, white}] of each band
    rotated                number of images that their EXIF turns or mirrors
    empty                  number of images without a pixel of any class
    values                 class id -> pixels, 255 (ignore) too
    squeeze                {image_size, pictures, miou, iou, thin, view}: what resizing leaves of the masks of some:
                           IoU there and back by class, share of the pixels in things thinner than two pixels then; and
                           what data.view auto is; without errors alone
    classes                [{id, name, pixels, pixel_share, pictures, picture_share, train, val}]; shares of what is
                           labelled; train and val: images that have it
    errors, warnings       number of findings
    left_out               [{reason, count, files}] of the files that no image or mask is read from; at most 100 files
    findings               [{level, kind, text, files}], errors first; level is error or warning; at most 100 files

Kinds of errors: folder (missing pairs, clashing stems, broken annotations), unreadable, size (mask and image differ),
turned (they differ by the image's EXIF), value (no class). Kinds of warnings: leak (one image trains and validates),
near (so do two nearly equal ones), contradiction (one image, two masks), duplicate, ignored, whole, scaled, shifted,
empty, absent, rare, thin (masks and classes), small, blank, dim, missing, frames, turned (images), note.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainer import IGNORE, InputError, printable, redact_all
from trainer.config import DataConfig
from trainer.data.account import Account
from trainer.data.bands import BandLevels
from trainer.data.checks.finding import ERROR, WARNING, Finding, folder_error
from trainer.data.checks.inspect import Inspection, inspect, sound_rows
from trainer.data.checks.rules import Parts, ScannedSamples, run_rules
from trainer.data.checks.scan import facts_type, levels_of, scan
from trainer.data.checks.squeeze import measure
from trainer.data.choose_channels import choose_channels
from trainer.data.choose_view import squeeze_summary, squeeze_warnings
from trainer.data.sources import Sources, find_sources
from trainer.data.value_map import BACKGROUND
from trainer.system.installation import command as program_command
from trainer.system.parallel import Progress
from trainer.system.text import messages, valid


@dataclass(frozen=True)
class Report:
    """Summary of a dataset, and the findings."""

    summary: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    account: Account = field(default_factory=Account)
    """Files that no sample uses, and why."""

    def of(self, level: str) -> list[Finding]:
        """Findings of one level, error or warning."""
        return [finding for finding in self.findings if finding.level == level]

    def to_json(self, ascii_only: bool = False) -> str:
        """Return the report as JSON with the keys above; without the summary's where no image was found.

        `ascii_only`: escape all other characters, which a terminal may not be able to encode.
        """
        counted = {"errors": len(self.of(ERROR)), "warnings": len(self.of(WARNING))}
        findings = (*self.of(ERROR), *self.of(WARNING))
        shown = {"findings": [{key: _fit_to_show(one) for key, one in asdict(each).items()} for each in findings]}
        left_out = {"left_out": self.account.content()} if self.summary else {}
        return json.dumps(redact_all(self.summary | left_out | counted | shown), indent=1, ensure_ascii=ascii_only)


def _fit_to_show(value: Any) -> Any:
    """Texts without what a terminal would obey, or UTF-8 cannot hold."""
    return printable(value) if isinstance(value, str) else [valid(file) for file in value]


def check_folders(config: DataConfig, progress: Progress) -> Report:
    """Find, read and judge the images and masks of data.root. What is wrong with them is in the report, not raised."""
    try:
        sources = find_sources(config)
    except InputError as error:
        return Report(findings=[folder_error(line) for line in messages(str(error))])
    config, _ = choose_channels(config, sources.samples)
    facts = np.zeros(len(sources.samples), dtype=facts_type(int(config.channels)))
    faults = scan(sources.samples, sources.values, facts, progress)
    report = make_report(sources, facts, inspect(sources, facts, faults), config.image_size)
    return report if report.of(ERROR) else _with_squeeze(report, sources, config, progress)


def _with_squeeze(report: Report, sources: Sources, config: DataConfig, progress: Progress) -> Report:
    """Add what the masks lose where their images are resized."""
    size, names = config.image_size, [row["name"] for row in report.summary["classes"]]
    found = measure(sources.samples, sources.values, size, None, progress)
    warnings = [Finding(WARNING, "thin", text) for text in squeeze_warnings(found, size, names)]
    summary = report.summary | {"squeeze": squeeze_summary(found, size, names)}
    return replace(report, summary=summary, findings=[*report.findings, *warnings])


def make_report(
    sources: Sources, facts: np.ndarray, inspection: Inspection, image_size: int, folder: Path | None = None
) -> Report:
    """Summarise the samples that could be read, and run the rules on them. `facts` FACTS [N].

    `image_size`: side in pixels that images are resized to, 0 where they are not; `folder`: where pairs of
    near-duplicates are cached.
    """
    sound = sound_rows(facts)
    samples = sources.samples
    trains = np.zeros(len(samples), dtype=bool)
    trains[list(sources.split.train)] = True
    if len(sound) < len(samples):
        samples, facts, trains = [samples[row] for row in sound], facts[sound], trains[sound]
    judged = [*inspection.errors, *inspection.notes]
    if not len(samples):
        return Report({"pictures": len(sources.samples), "unreadable": len(sources.samples)}, judged, sources.account)
    names = inspection.names or (BACKGROUND,)
    values_known = all(error.kind != "value" for error in inspection.errors)
    parts = Parts(sources.parts_by, all(sample.name in sources.parts for sample in samples))
    scanned = ScannedSamples(samples, facts, trains, names, sources.values.given, image_size, folder, parts)
    summary = {"pictures": len(sources.samples), "train": len(sources.split.train), "val": len(sources.split.val)}
    summary |= {"unreadable": len(sources.samples) - len(samples)}
    return Report(summary | _summary(scanned), [*judged, *run_rules(scanned, values_known)], sources.account)


def check_command(config: DataConfig) -> list[str]:
    """Command that shows the whole report on this data, as words."""
    command = [*program_command("prepare").split(), "check", *map(str, config.roots)]
    for key in ("layout", "val_fraction", "fold", "image_size", "channels"):
        if getattr(config, key) != getattr(DataConfig(), key):
            command += [f"--{key}", f"{getattr(config, key)}"]
    command += ["--classes", *config.classes] if config.classes else []
    return command + (["--value_map", json.dumps(config.value_map)] if config.value_map else [])


def _summary(scanned: ScannedSamples) -> dict[str, Any]:
    facts, counts = scanned.facts, scanned.counts
    total = counts.sum(axis=0, dtype=np.int64)
    return {
        "sizes": _sizes(facts["size"]),
        "kinds": {kind.decode(): number for kind, number in Counter(facts["kind"].tolist()).most_common()},
        **_levels(facts),
        "rotated": int((facts["orientation"] > 1).sum()),
        "empty": int((~counts[:, 1:IGNORE].any(axis=1)).sum()),
        "values": {str(value): int(total[value]) for value in np.flatnonzero(total)},
        "classes": _class_rows(scanned, total),
    }


def _levels(facts: np.ndarray) -> dict[str, Any]:
    """Levels of the images of more than 8 bits; empty without any."""
    levels, deep = levels_of(facts), facts["deep"]
    if levels is None:
        return {}
    if isinstance(levels, BandLevels):
        ends = facts["bands"][deep][..., 0].min(axis=0), facts["bands"][deep][..., 3].max(axis=0)
        rows = zip(levels.bands, *ends, strict=True)
        bands = [
            {"lowest": float(low), "highest": float(high), "black": one.low, "white": one.high}
            for one, low, high in rows
        ]
        return {"bands": bands}
    found = {"lowest": float(facts["range"][deep, 0].min()), "highest": float(facts["range"][deep, 3].max())}
    return {"levels": {"pictures": int(deep.sum()), **found, "black": levels.low, "white": levels.high}}


def _sizes(sizes: np.ndarray) -> dict[str, dict[str, int]]:
    """Smallest, largest and most common of sizes, uint32 [N, 2], with the number of images that have it."""
    different, numbers = np.unique(sizes, axis=0, return_counts=True)
    pixels = different.prod(axis=1, dtype=np.int64)
    chosen = {"smallest": pixels.argmin(), "largest": pixels.argmax(), "most_common": numbers.argmax()}
    return {
        name: {"height": int(different[row][0]), "width": int(different[row][1]), "pictures": int(numbers[row])}
        for name, row in chosen.items()
    }


def _class_rows(scanned: ScannedSamples, total: np.ndarray) -> list[dict[str, Any]]:
    labelled = max(1, int(total[:IGNORE].sum()))
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(scanned.names):
        holds = scanned.counts[:, number] > 0
        row: dict[str, Any] = {"id": number, "name": name, "pixels": int(total[number])}
        row |= {"pixel_share": float(total[number] / labelled), "pictures": int(holds.sum())}
        row |= {"picture_share": float(holds.mean()), "train": int((holds & scanned.trains).sum())}
        rows.append(row | {"val": int((holds & ~scanned.trains).sum())})
    return rows
