"""`corranto web | worker | scheduler | sink | up`: the processes, one at a time or all in one tree.

Each command imports its own rooms when it runs: a worker's memory is counted, and it needs no web server in it.
"""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.commands import nothing_is_garbage
from worker.cli.context import open_settings
from worker.cli.output import end, say
from worker.operations.status import relay_place
from worker.screen.terminal import clean, out_console
from worker.settings import Settings
from worker.storage.engine import open_database
from worker.supervisor import Member, Tree

_SINK_GRACE_S = 2.0
"""With the embedded sink nothing that was sent is precious: the tree is gone within three seconds."""

_COLOURS = {"web": "cyan", "worker": "green", "scheduler": "magenta", "sink": "yellow"}


def web() -> None:
    """Serve the readers' pages and the health checks until SIGTERM or Ctrl-C."""
    with nothing_is_garbage():
        from worker.web import ops

    end(ops.serve(_ready()) or 0)


def worker() -> None:
    """Hand mail to the relay until SIGTERM or Ctrl-C; finishes what is on the wire, then leaves.

    One operating system process: start more of them, on this machine or others, to send faster.
    """
    with nothing_is_garbage():
        from worker import actors

    end(actors.run_worker(_ready()))


def scheduler() -> None:
    """Start what is due and find what got stuck, until SIGTERM or Ctrl-C. Several may run; each step is safe."""
    with nothing_is_garbage():
        from worker import scheduler as room

    end(room.run(_ready()))


def sink(
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. Default: sink_port.")] = None,
    without: Annotated[str, typer.Option(help="Extensions not to announce, such as CHUNKING,PIPELINING.")] = "",
    log: Annotated[Path | None, typer.Option(help="Write one JSON line for each accepted mail to this file.")] = None,
    count_only: Annotated[bool, typer.Option("--count-only", help="Keep no mail, only count.")] = False,
) -> None:
    """Accept mail on this machine, deliver none, and show it at /sink."""
    from worker.sink.server import SinkConfig, parse_extensions, refuse_beside_real_relay, serve

    settings = open_settings(is_process=True)
    refuse_beside_real_relay(settings.relay_url.host)
    config = SinkConfig(
        folder=settings.state_dir / "sink",
        host=settings.sink_host,
        port=settings.sink_port if port is None else port,
        limit=settings.sink_keep,
        without=parse_extensions(without),
        log=log,
        count_only=count_only,
    )
    asyncio.run(serve(config, lambda bound: say(f"sink: accepting mail on {config.host}:{bound}")))


def up() -> None:
    """Run web, worker and scheduler as one tree, and the sink when mail goes to it. Ctrl-C ends all of them."""
    settings = _ready()
    members = [Member(name) for name in ("web", "worker", "scheduler")]
    with_sink = settings.uses_sink
    if with_sink:
        members.insert(0, Member("sink", is_last=True))
    elif settings.is_loopback_relay:
        say(
            f"up: mail goes to {relay_place(settings)}, not to the sink's port {settings.sink_port}, so no sink is"
            " started; for the sink, CORRANTO_SMTP_URL and CORRANTO_SINK_PORT must name the same port"
        )
    # With a real relay a worker killed too early leaves copies in doubt: it gets its own time to drain.
    grace_s = _SINK_GRACE_S if with_sink else settings.drain_s + 1.0
    tree = Tree(members, os.environ, grace_s=grace_s, write=_write)
    tree.start()
    code = tree.run()
    if tree.lost is not None:
        say(f"up: {tree.lost} ended by itself, so all did", style="red")
    end(code)


def _ready() -> Settings:
    """Settings of a process whose ledger answers and whose keys are there, or the sentence why not."""
    settings = open_settings(is_process=True)
    _ = settings.keys
    database = open_database(settings.database_url.get_secret_value(), settings.secrets)
    database.check()
    database.close()
    return settings


def _write(name: str, line: str) -> None:
    console = out_console()
    console.print(f"{name:<9} | ", style=_COLOURS.get(name), end="")
    console.print(clean(line))
