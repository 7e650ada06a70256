"""Thread that sends a run's journal to the tracking server during training."""

import queue
import threading
import time
from typing import TYPE_CHECKING

from trainer import redact
from trainer.system.run_folder import RunFolder
from trainer.tracking.errors import in_words
from trainer.tracking.journal import Journal
from trainer.tracking.store import is_alive

if TYPE_CHECKING:  # loads MLflow
    from mlflow import MlflowClient

SEND_SECONDS = 2.0
"""Interval between two attempts to send, in seconds; it doubles with each failed attempt."""

LONGEST_PAUSE_SECONDS = 60.0
"""Longest interval between two attempts, in seconds."""

LISTEN_SECONDS = 1.0
"""Interval between two health checks of the server while `flush` waits, in seconds."""

ANSWER_SECONDS = 3.0
"""Longest wait for the answer to a health check, in seconds."""

FAILED_CHECKS = 2
"""Number of failed health checks in a row after which `flush` gives up; a server that is merely slow passes them."""

FLUSH_ATTEMPTS = 3
"""Number of attempts to send in one `flush`."""


class Sender:
    """Sends new records every SEND_SECONDS, and less often while the server fails.

    The journal and the number of bytes that the server has are on disk, so nothing is lost with this thread. Only
    `flush` waits for it.
    """

    def __init__(self, folder: RunFolder, journal: Journal, client: "MlflowClient | None") -> None:
        # Loading MLflow takes seconds in which other threads hardly run, so it is loaded before training starts.
        from trainer.tracking import server

        self.server, self.folder, self.journal, self.client = server, folder, journal, client
        self.error = ""
        self.requests: queue.SimpleQueue[threading.Event] = queue.SimpleQueue()
        self.stopping = threading.Event()
        threading.Thread(target=self._send_regularly, name="sender", daemon=True).start()

    def flush(self, seconds: float) -> bool:
        """Send all unsent records, for at most `seconds`, or less where the server does not answer health checks.

        Returns whether the server has everything.
        """
        deadline = time.monotonic() + seconds
        # A server that failed before gets one health check; one that answered so far may be slow for a moment.
        allowed = 1 if self.error else FAILED_CHECKS
        for attempt in range(FLUSH_ATTEMPTS):
            time.sleep(attempt)  # seconds; an error rarely disappears at once
            sent = threading.Event()
            self.requests.put(sent)
            failed = 0
            while not sent.wait(min(LISTEN_SECONDS, max(0.0, deadline - time.monotonic()))):
                failed = 0 if is_alive(ANSWER_SECONDS) else failed + 1
                if failed >= allowed or time.monotonic() >= deadline:
                    self.error = self.error or "no answer in time"
                    return False
            if not self.error:
                return True
        return False

    def stop(self) -> None:
        """Send nothing more. Does not wait for a call in progress."""
        self.stopping.set()

    def _send_regularly(self) -> None:
        pause = SEND_SECONDS
        while not self.stopping.is_set():
            try:
                request = self.requests.get(timeout=pause)
            except queue.Empty:
                request = None
            self._send()
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS) if self.error else SEND_SECONDS
            if request:
                request.set()

    def _send(self) -> None:
        try:
            # The server must not have records that the disk does not: after a power cut, the journal would continue
            # from a shorter length, and new records before the server's offset would never be sent.
            self.journal.fsync()
            self.client = self.client or self.server.connect_run(self.folder)
            self.server.send_records(self.client, self.folder)
            self.error = ""
        except Exception as error:  # MLflow and the network raise many kinds; the journal has the records
            self.client = None
            self.error = redact(in_words(error))
