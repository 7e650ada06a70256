"""Versions that are served: the one that the address stands for now, and at most one other that is asked for.

A thread looks whether the alias has moved. The new version is loaded and tried beside the old one, which answers until
then, and goes when its last request is done.
"""

import copy
import dataclasses
import re
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from trainer import InputError, redact, redact_all
from trainer.inference.model import Model
from trainer.inference.origin import model_facts, model_title, png_texts
from trainer.inference.resume import model_digest
from trainer.model.segmenter import Segmenter
from trainer.serving.limits import Refused
from trainer.tracking.address import MOST_DIGITS, parse_address
from trainer.tracking.load import list_versions, load_model, load_uri, locate

RETRY_SECONDS = 60.0
"""Time after which a version is tried again that could not be loaded, in seconds."""

CATALOGUE = ". There are:"
"""End of the line of an error after which the registered models are listed."""

DIGEST_DIGITS = 12
"""Digits of the digest that tells models apart which have no version: those of folders and runs."""


class Served:
    """A loaded version, ready to predict, and what is said about it."""

    def __init__(self, model: Model) -> None:
        """Move the model to its device, and predict once: what fails then fails before anybody waits for it."""
        self.model = model
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model.segmenter.to(device)
        contract = model.segmenter.contract
        with torch.inference_mode():
            blank = torch.zeros(1, contract.input_channels, contract.image_size, contract.image_size, device=device)
            model.segmenter.logits(blank)
        self.version = model.origin.get("version") or model_digest(model.segmenter)[:DIGEST_DIGITS]
        """Number of the version; of a model that is not registered the beginning of its digest."""

        self.plain = Scored(self, model.segmenter)

    @property
    def name(self) -> str:
        """Name of the registered model, or that of the folder."""
        folder = Path(self.model.origin["uri"])
        return self.model.origin.get("name") or (folder.parent.name if folder.name == "model" else folder.name)

    @property
    def alias(self) -> str:
        """Alias that the version was found by; empty without one."""
        return self.model.origin.get("alias", "")

    def at(self, threshold: float | None) -> "Scored":
        """Return the model with a foreground threshold of its own. Raises Refused where it has several classes."""
        segmenter = self.model.segmenter
        if threshold is not None and segmenter.contract.channels > 1:
            count = len(segmenter.contract.class_names) - 1
            raise Refused(422, f"threshold: the model has {count} classes, and takes the most probable; leave it out")
        if threshold in (None, segmenter.contract.threshold):
            return self.plain
        segmenter = copy.copy(segmenter)  # the network is the same
        segmenter.contract = dataclasses.replace(segmenter.contract, threshold=threshold)
        return Scored(self, segmenter)


@dataclasses.dataclass(frozen=True)
class Scored:
    """A version and its threshold."""

    served: Served
    segmenter: Segmenter

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Facts about the model, for JSON answers."""
        own = {"name": self.served.name, "version": self.served.version}
        return own | {key: value for key, value in self.report.items() if value not in (None, "")}

    @cached_property
    def report(self) -> dict[str, Any]:
        """Facts about the model, as the reports of predict.py have them."""
        return redact_all(model_facts(dataclasses.replace(self.served.model, segmenter=self.segmenter)))

    @cached_property
    def texts(self) -> dict[str, str]:
        """Texts about the model in PNG files, by keyword."""
        return png_texts(model_facts(dataclasses.replace(self.served.model, segmenter=self.segmenter)))

    @cached_property
    def title(self) -> str:
        """Name and version for a person."""
        return model_title(model_facts(self.served.model))


Notify = Callable[..., None]
"""Called with the name of an event and facts about it."""


class Versions:
    """The current version of an address, and at most one more."""

    def __init__(self, uri: str, poll_s: float = 5.0, notify: Notify = lambda event, **facts: None) -> None:
        """Load the model. Raises InputError where it cannot be loaded. `poll_s`: time between looks at the alias."""
        self.uri, self.poll_s, self.notify = uri, poll_s, notify
        self.address = parse_address(uri)
        self.current = Served(load_model(uri))
        self.extra: Served | None = None
        self.loading = threading.Lock()
        self.stop = threading.Event()
        self.failed = ("", 0.0)
        """Version that could not be loaded, and when that was tried."""

        self.fault = ""
        """Fault of the alias or the registry, for a person; empty where there is none."""

    # ---------------------------------------------------------------- the alias

    @property
    def moves(self) -> bool:
        """True where the address may stand for another version later."""
        return bool(self.address.name) and not self.address.version.isdecimal()

    def start(self) -> None:
        """Look at the alias from now on, in a thread, until `stop` is set."""
        if self.moves:
            threading.Thread(target=self._poll, name="alias", daemon=True).start()

    def _poll(self) -> None:
        while not self.stop.wait(self.poll_s):
            self.follow()

    def follow(self) -> None:
        """Load the version that the address stands for now, if that is another one; keep the old one otherwise."""
        wanted = ""
        try:
            found, origin = locate(self.address)
            wanted = origin["version"]
            if wanted == self.current.version or (
                wanted == self.failed[0] and time.monotonic() < self.failed[1] + RETRY_SECONDS
            ):
                if wanted == self.current.version:
                    self.fault = ""
                return
            before = self.current.version
            began = time.perf_counter()
            self.current = Served(Model(load_uri(found, self.address.text), {"uri": self.address.text} | origin))
            self.fault = ""
            self.notify("swap", before=before, version=wanted, seconds=round(time.perf_counter() - began, 3))
        except Exception as error:  # whatever it is, the present version goes on answering
            self.failed, text = (wanted, time.monotonic()), redact(f"{error}")
            if text != self.fault:
                self.notify("alias_error", version=self.current.version, wanted=wanted, error=text)
            self.fault = text

    # ---------------------------------------------------------------- another version

    def get(self, version: str = "") -> Served:
        """Return the current version, or another one, which is loaded in the place of the last such one.

        Raises Refused where there is none, or one is being loaded.
        """
        current, extra = self.current, self.extra
        for one in (current, extra):
            if one is not None and version in ("", one.version):
                return one
        if not self.address.name or not re.fullmatch(rf"[1-9][0-9]{{0,{MOST_DIGITS - 1}}}", version):
            raise Refused(404, f"version {version!r}: there is {current.version}; GET /versions lists them")
        if not self.loading.acquire(blocking=False):
            raise Refused(503, "another version is being loaded; ask again", retry_s=2)
        try:
            self.extra = None  # makes room before the next one is loaded
            loaded = Served(load_model(f"models:/{self.address.name}/{version}"))
            self.extra = loaded
        except InputError as error:
            first = f"{error}".partition("\n")[0]
            if first.endswith(CATALOGUE):  # in lines below, by addresses that no request takes
                first = f"{first.removesuffix(CATALOGUE)}; GET /versions lists them"
            raise Refused(404, f"version {version}: {first}") from error
        finally:
            self.loading.release()
        self.notify("extra", version=version)
        return loaded

    def listing(self) -> list[dict[str, Any]]:
        """Facts about all versions, the oldest first. Raises Refused where the registry does not answer."""
        if not self.address.name:
            return [{"version": self.current.version, "aliases": [], "current": True}]
        try:
            found = list_versions(self.address.name)
        except InputError as error:
            raise Refused(503, f"{error}", retry_s=10) from error
        return [one | {"current": one["version"] == self.current.version} for one in found]
