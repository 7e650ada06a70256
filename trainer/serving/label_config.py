"""Label Studio's labelling configuration: which control takes masks, of which image, with which labels."""

import xml.parsers.expat
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.serving.limits import Refused
from trainer.system.text import label, match_names, show

MOST_CHARACTERS = 1_000_000
KINDS = {"BrushLabels": "brushlabels", "PolygonLabels": "polygonlabels"}
"""Control -> the type of its results; brushes are taken first, since they keep every pixel."""


@dataclass(frozen=True)
class Control:
    """A control of the configuration, and the image that it labels."""

    kind: str
    """Type of its results: brushlabels or polygonlabels."""

    name: str
    to_name: str
    key: str
    """Key of the image's address in a task's data."""

    labels: dict[str, str]
    """Class name of the model -> the label as the configuration writes it; only those that are in both."""


@dataclass
class _Found:
    """Controls and images that a reading has met so far."""

    controls: list[tuple[str, dict[str, str], list[str]]] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)


def read_label_config(text: str, class_names: Sequence[str]) -> Control:
    """Find the control for the masks of a model whose foreground has `class_names`.

    Raises Refused where the text is no XML, declares a document type, or has no such control, image or label.
    """
    found = _parse(text)
    for kind in KINDS:
        for tag, given, labels in found.controls:
            target = given.get("toName", "")
            if tag == kind and target in found.images and given.get("name"):
                own = {label(one): one for one in labels}
                matched = {name: own[match] for name, match in match_names(map(label, class_names), own).items()}
                known = {name: matched[label(name)] for name in class_names if label(name) in matched}
                if not known:
                    ours, theirs = (", ".join(map(show, names)) for names in (class_names, labels))
                    raise Refused(422, f"label_config: labels {theirs}; the model has {ours}: give one of these names")
                return Control(KINDS[kind], given["name"], target, found.images[target], known)
    raise Refused(422, "label_config: no BrushLabels or PolygonLabels for an Image with value='$key'")


def _parse(text: str) -> _Found:
    if len(text) > MOST_CHARACTERS:
        raise Refused(413, f"label_config: more than {MOST_CHARACTERS:,} characters")
    found = _Found()

    def start(tag: str, given: dict[str, str]) -> None:
        if tag in KINDS:
            found.controls.append((tag, given, []))
        elif tag == "Label" and found.controls and given.get("value"):
            found.controls[-1][2].append(given["value"])
        elif tag == "Image" and given.get("name") and given.get("value", "").startswith("$"):
            found.images[given["name"]] = given["value"][1:]

    def refuse(*_declaration: object) -> None:
        raise Refused(422, "label_config: declares a document type; remove <!DOCTYPE ...>")

    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except xml.parsers.expat.ExpatError as error:
        raise Refused(422, f"label_config: not XML ({error})") from None
    return found
