"""The real application on a free port, in a thread of its own."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from worker.settings import Settings
from worker.storage.engine import Database
from worker.web.app import create_app
from worker.web.ops import listen, server_config
from worker.web.places import read_networks
from worker.web.protocol import PatientProtocol, protocol_for


@contextmanager
def running_web(
    settings: Settings, database: Database, protocol: type[PatientProtocol] = PatientProtocol
) -> Iterator[tuple[str, int]]:
    """(host, port) of a web process's application; it answers when this yields."""
    listener = listen("127.0.0.1", 0)
    config = server_config(create_app(settings, database=database), settings)
    trusted = read_networks(settings.trusted_proxies)
    config.http = protocol_for(trusted, protocol) if protocol.guests is None else protocol
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        # The listening socket exists already: whoever connects now waits in its queue until the server accepts.
        yield "127.0.0.1", listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def exchange(place: tuple[str, int], raw: bytes) -> bytes:
    """Send bytes as they are, read until the other side closes; it may cut us off before it read all."""
    received = b""
    with socket.create_connection(place, timeout=15) as connection:
        try:
            connection.sendall(raw)
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionError:
            pass  # a refusal may close the connection while we still send
    return received
