"""The thread that sends a run's journal to the tracking server while training goes on."""

import queue
import threading
import time
from typing import TYPE_CHECKING

from trainer import redact
from trainer.system.run_folder import RunFolder
from trainer.tracking.journal import Journal
from trainer.tracking.store import is_alive

if TYPE_CHECKING:
    from mlflow import MlflowClient

SEND_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
# At the end of training: how a server that is slow is told from one that is dead.
LISTEN_SECONDS = 1.0
ANSWER_SECONDS = 3.0
DEAD_AFTER = 2  # questions without an answer
TRIES = 3


class Sender:
    """Sends what is new every SEND_SECONDS, more rarely the longer the server has failed.

    Nothing is kept in memory: the journal is on disk, and so is how far the server has it. Nobody waits for this
    thread but `flush`.
    """

    def __init__(self, folder: RunFolder, journal: Journal, client: "MlflowClient | None") -> None:
        # Loading MLflow takes seconds, during which other threads hardly run: now, not under training's feet.
        from trainer.tracking import server

        self.server, self.folder, self.journal, self.client = server, folder, journal, client
        self.error = ""
        self.asked: queue.SimpleQueue[threading.Event] = queue.SimpleQueue()
        self.stopping = threading.Event()
        threading.Thread(target=self._send_regularly, name="sender", daemon=True).start()

    def flush(self, seconds: float) -> bool:
        """Send what is left, for at most `seconds`; less where the server is dead. True where it has everything."""
        deadline = time.monotonic() + seconds
        # One that was failing is asked once whether it is back. One that answered may have a moment of weakness.
        patience = 1 if self.error else DEAD_AFTER
        for number in range(TRIES):
            time.sleep(number)  # what failed just now is not mended at once
            tried = threading.Event()
            self.asked.put(tried)
            silent = 0
            while not tried.wait(min(LISTEN_SECONDS, max(0.0, deadline - time.monotonic()))):
                silent = 0 if is_alive(ANSWER_SECONDS) else silent + 1
                if silent >= patience or time.monotonic() >= deadline:
                    self.error = self.error or "no answer in time"
                    return False
            if not self.error:
                return True
        return False

    def stop(self) -> None:
        """Send nothing more; does not wait for a call under way."""
        self.stopping.set()

    def _send_regularly(self) -> None:
        pause = SEND_SECONDS
        while not self.stopping.is_set():
            try:
                waiting = self.asked.get(timeout=pause)
            except queue.Empty:
                waiting = None
            self._send()
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS) if self.error else SEND_SECONDS
            if waiting:
                waiting.set()

    def _send(self) -> None:
        try:
            # What the server has must not be ahead of the disk: after a power cut the journal would grow again from
            # an earlier place than where the server's knowledge ends.
            self.journal.fsync()
            self.client = self.client or self.server.attach(self.folder)
            self.server.sync(self.client, self.folder)
            self.error = ""
        except Exception as error:  # whatever MLflow and the network come up with; the journal keeps the records
            self.client = None
            self.error = redact(f"{type(error).__name__}: {error}")
