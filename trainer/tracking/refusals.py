"""Records that a tracking server refuses for good: found among the others, set aside and named; the rest goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from trainer import InputError, redact
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder

REFUSED_CODES = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""MLflow's error codes for what it will refuse again."""

REFUSED_STATUS = (400, 413, 414, 415, 422)
"""HTTP's status codes of the same meaning; 413 is a file that is too large for the server."""


@dataclass(frozen=True)
class Named:
    """Something to send that has a name."""

    key: str


class Refusals:
    """Sends items, and keeps in refused.json which of them the server has refused for good, with its reasons."""

    def __init__(self, client: MlflowClient, run_id: str, folder: RunFolder) -> None:
        self.client, self.run_id, self.folder = client, run_id, folder
        self.found: set[tuple[str, str]] = set()

    def has(self, kind: str, name: str) -> bool:
        """Return whether something of this name was refused by this call of `send_records`."""
        return (kind, name) in self.found

    def send(self, kind: str, items: Sequence[Any], call: Callable[[Any], object]) -> None:
        """Send `items`, each with a `key`, by `call`; where that is refused, in halves, down to what is to blame.

        Raises whatever else `call` raises, and InputError where the run itself was deleted.
        """
        items = [item for item in items if not self.has(kind, item.key)]
        if not items:
            return
        try:
            call(items)
        except Exception as error:
            if not is_refused_for_good(error):
                raise
            self._require_run()  # of a deleted run, MLflow refuses everything in the same words
            if len(items) == 1:
                self._set_aside(kind, items[0].key, error)
                return
            items = sorted(items, key=lambda item: item.key)  # those of one name together: they share its fate
            middle = len(items) // 2
            self.send(kind, items[:middle], call)
            self.send(kind, items[middle:], call)

    def _require_run(self) -> None:
        if self.client.get_run(self.run_id).info.lifecycle_stage == "deleted":
            raise InputError(f"run {self.run_id} was deleted in MLflow; restore it there to continue sending")

    def _set_aside(self, kind: str, name: str, error: Exception) -> None:
        self.found.add((kind, name))
        known = self.folder.read_refused()
        reason = " ".join(redact(str(error)).split())[:300]
        write_json(self.folder.refused, known | {kind: known.get(kind, {}) | {name: reason}})


def is_refused_for_good(error: Exception) -> bool:
    """Return whether an error of MLflow or of its HTTP client means that a repeated request is refused again."""
    if isinstance(error, MlflowException):
        return error.error_code in REFUSED_CODES or error.get_http_status_code() in REFUSED_STATUS
    return getattr(getattr(error, "response", None), "status_code", None) in REFUSED_STATUS
