"""Start and end of the service."""

import asyncio
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from trainer import InputError
from trainer.serving.app import make_app
from trainer.serving.connection import Connection
from trainer.serving.fetch import ImageHost
from trainer.serving.guard import Guard
from trainer.serving.json_log import JsonLog
from trainer.serving.labelling_queue import open_queue
from trainer.serving.metrics import Metrics
from trainer.serving.service import Service
from trainer.serving.static_files import read_page
from trainer.serving.versions import Versions
from trainer.system.signals import StopSignals, exit_code

MOST_CONNECTIONS = 500
"""Connections at the same time; more get 503."""

SIGNAL_SECONDS = 0.1
"""Time between looks for a signal, in seconds."""

END_SECONDS = 30.0
"""Longest time in which requests are finished after a signal, in seconds."""


class Server(uvicorn.Server):
    """A server that leaves signals to the program."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers."""
        yield


def serve(given: Any, stop: StopSignals) -> int:
    """Load the model and answer until a signal ends it; return the exit code.

    Raises InputError where the address is taken, the model cannot be loaded, or the queue not be written.
    """
    listener = bind(given.host, given.port)
    with listener:
        queue = open_queue(given.queue) if given.queue else None
        log, metrics = JsonLog(), Metrics()

        def notify(event: str, **facts: Any) -> None:
            counted = {"swap": "swaps_total", "alias_error": "alias_errors_total"}.get(event)
            if counted:
                metrics.count(counted)
            log(event, **facts)

        service = Service(Versions(given.model, given.poll, notify), given.limits, metrics)
        page = read_page()
        images = ImageHost(given.label_studio, given.studio_token, given.limits) if given.label_studio else None
        app = Guard(make_app(service, page, queue, images), service.versions, given.token, {"", *page}, log, metrics)
        stop.defer()
        asyncio.run(answer(app, service, listener, log, stop))
        service.close()
        log("stopped")
        log.close()
        print("serve.py: stopped", file=sys.stderr)
        return exit_code(stop.number)


def bind(host: str, port: int) -> socket.socket:
    """Take the address, before the model is loaded. Raises InputError where that is not possible."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(f"--host {host}: no address of this machine ({error.strerror}); give 127.0.0.1") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # who asks while the model is loaded waits
        return listener
    except OSError as error:
        listener.close()
        text = f"--host {host} --port {port}: cannot listen there ({error.strerror})"
        raise InputError(f"{text}; give another --port, or 0 for a free one") from error


async def answer(app: Guard, service: Service, listener: socket.socket, log: JsonLog, stop: StopSignals) -> None:
    """Answer requests until a signal arrives; then finish those that are there."""
    seconds = service.limits.seconds
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what clients send wrongly is no event of ours
    config = uvicorn.Config(
        app,
        http=type("TimedConnection", (Connection,), {"seconds": seconds}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=int(min(END_SECONDS, seconds) + 1),
    )
    server = Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not running.done():
        await asyncio.sleep(SIGNAL_SECONDS / 10)
    if server.started:
        service.versions.start()
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        current = service.versions.current
        log("ready", address=address, name=current.name, version=current.version, alias=current.alias)
        print(f"serve.py: {current.at(None).title} at {address}", file=sys.stderr, flush=True)
    while not stop.requested() and not running.done():
        await asyncio.sleep(SIGNAL_SECONDS)
    service.stopping = server.should_exit = True
    await running
