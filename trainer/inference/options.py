"""Choice of what a prediction makes, and of what it does with masks."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Literal

OVERLAYS, PROBABILITIES, LABELME = ("contour", "blend", "none"), ("png", "npy"), ("polygons", "masks")
TTA = ("flips",)
"""Forms of overlays, of probability files and of Labelme's shapes; what is predicted beside the image itself."""

FOLDERS = ("masks", "overlays", "probabilities", "confidence", "labelme")
"""Folders of results; their files are no input."""


@dataclass(frozen=True)
class Options:
    """Options of predict.py that change its results."""

    threshold: float | None = None
    """Foreground probability above which a pixel is foreground; None: the model's own."""

    min_area: int | Literal["auto"] = 0
    """Pixels of the smallest object that is kept; auto: no specks are, and their holes are filled (specks.py)."""

    largest_only: bool = False
    """Keep the largest object of each class alone."""

    tta: str = ""
    """One of TTA; "": the image alone."""

    overlay: str = "contour"
    """One of OVERLAYS."""

    probabilities: str = ""
    """One of PROBABILITIES; "": none are written."""

    confidence_map: bool = False
    labelme: str = ""
    """One of LABELME; "": no files of Labelme."""

    coco: bool = False
    objects: bool = False

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders that are written."""
        wanted = (True, self.overlay != "none", self.probabilities, self.confidence_map, self.labelme)
        return tuple(folder for folder, one in zip(FOLDERS, wanted, strict=True) if one)

    @property
    def maps(self) -> tuple[str, ...]:
        """Maps that results need beside the mask, fields of `ImageResult`."""
        confidence = self.confidence_map or self.objects or self.coco
        return ("confidence_map",) * bool(confidence) + ("probabilities",) * bool(self.probabilities)

    @property
    def flips(self) -> bool:
        """True where the mirror image is predicted too."""
        return self.tta == "flips"

    @property
    def digest(self) -> str:
        """Digest of all options: results of the same image and model are the same where it is."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def changed(self) -> dict[str, object]:
        """Options that are not as they are by default."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value != getattr(Options(), name)}
