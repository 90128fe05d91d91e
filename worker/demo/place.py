"""Where the demo lives: its folder, its own key, its ports and the settings made of them.

The folder is held with a lock while the demo runs, and everything in it may be lost: `--fresh` begins again. A killed
demo leaves `live.json` behind; whoever reads that checks the process id in it.
"""

import fcntl
import json
import os
import secrets
import shutil
import socket
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.errors import RefusedError, Remedy, UnreachableError
from worker.places import CONFIG, HOME, IS_CHECKOUT
from worker.settings import PREFIX

FOLDER = HOME / "demo-data" if IS_CHECKOUT else Path("demo-data")
"""In a checkout always the same one, where ./run looks for a live demo; else below the working directory."""

SAMPLES = Path(__file__).parent / "samples"
WEB_PORT, SINK_PORT, METRICS_PORT = 8025, 1025, 9125
_PORTS_TRIED = 200
_MARK = "This folder belongs to the demo: corranto demo --fresh empties it.\n"
_KEPT_WHEN_FRESH = ("lock", "README")


@dataclass(frozen=True)
class Place:
    """A folder that is ours, with what was decided about it. `is_new` when nothing from an earlier run is in it."""

    folder: Path
    environment: Mapping[str, str]
    """Complete environment of the demo's processes."""
    base_url: str
    sink_port: int
    is_new: bool
    moved: bool
    """The web port is not that of the last run, so links in mails from then do not lead here."""

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    @property
    def samples(self) -> Path:
        """Copies of the sample issues, to read, change and queue."""
        return self.folder / "samples"

    @property
    def own_config(self) -> Path:
        """All its settings as a file, its key too."""
        return self.folder / "settings.toml"

    @property
    def settings(self) -> dict[str, str]:
        """The CORRANTO_* part of the environment."""
        return {name: value for name, value in self.environment.items() if name.startswith(PREFIX)}


@contextmanager
def hold(folder: Path, *, fresh: bool, web_port: int | None) -> Iterator[Place]:
    """Take the folder for as long as the context lasts. Raises RefusedError: another demo runs in it, it holds
    something else, or the wanted port is taken. Raises UnreachableError when it cannot be written."""
    try:
        lock = _lock(folder)
    except OSError as error:
        raise UnreachableError("demo.unwritable", remedy=Remedy.CHANGE, folder=folder, why=error.strerror) from error
    with ExitStack() as reserved:
        try:
            if fresh:
                _empty(folder)
            yield _prepare(folder, web_port, reserved)
        finally:
            (folder / "live.json").unlink(missing_ok=True)
            os.close(lock)


def announce(place: Place) -> None:
    """Tell which settings to use while the demo is live: `./run corranto` by itself, others by CORRANTO_CONFIG."""
    text = json.dumps({"environment": place.settings, "pid": os.getpid()}, indent=2)
    _write_private(place.folder / "live.json", text)
    ours = {name.removeprefix(PREFIX).lower(): value for name, value in place.settings.items()}
    values = {**tomllib.loads(Path(ours.pop("config")).read_text(encoding="utf-8")), **ours}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
    _write_private(place.own_config, "# CORRANTO_CONFIG names this file to speak to the demo.\n" + "".join(lines))


def _lock(folder: Path) -> int:
    """The descriptor that holds the folder. What is not ours is not touched, `--fresh` or not."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "README").is_file():
        raise RefusedError("demo.not_ours", remedy=Remedy.CHANGE, folder=folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RefusedError("demo.runs_already", folder=folder) from None
    (folder / "README").write_text(_MARK, encoding="utf-8")
    return descriptor


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name in _KEPT_WHEN_FRESH:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _prepare(folder: Path, web_port: int | None, reserved: ExitStack) -> Place:
    is_new = not (folder / "corranto.sqlite3").exists()
    for name in ("state", "log"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    _copy_samples(folder / "samples")
    before = _read_ports(folder)
    if web_port is not None and not _is_free(web_port):
        raise RefusedError("demo.port_taken", remedy=Remedy.CHANGE, port=web_port)
    web = web_port or _free_port(before.get("web", WEB_PORT), reserved)
    sink = _free_port(before.get("sink", SINK_PORT), reserved)
    metrics = _free_port(METRICS_PORT, reserved)
    _write_private(folder / "ports.json", json.dumps({"web": web, "sink": sink}))
    base_url = f"http://127.0.0.1:{web}"
    ours = {
        "CONFIG": str(CONFIG / "demo.toml"),
        "DATABASE_URL": f"sqlite:///{folder.absolute() / 'corranto.sqlite3'}",
        "STATE_DIR": str(folder.absolute() / "state"),
        "SECRET_KEYS": _key(folder),
        "SMTP_URL": f"smtp://127.0.0.1:{sink}",
        "SINK_PORT": str(sink),
        "WEB_PORT": str(web),
        "BASE_URL": base_url,
        "METRICS_PORT": str(metrics),
    }
    # Whatever installation the caller's environment speaks of, the demo has nothing to do with it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {PREFIX + name: value for name, value in ours.items()}
    moved = not is_new and before.get("web", web) != web
    return Place(folder, environment, base_url, sink, is_new, moved)


def _copy_samples(target: Path) -> None:
    """What somebody changed stays. Contents only: an installed program's own files may be read-only."""
    for source in SAMPLES.rglob("*"):
        copy = target / source.relative_to(SAMPLES)
        if source.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


def _key(folder: Path) -> str:
    path = folder / "key"
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="ascii").strip()


def _read_ports(folder: Path) -> dict[str, int]:
    try:
        ports = json.loads((folder / "ports.json").read_text(encoding="utf-8"))
        return {name: port for name in ("web", "sink") if 0 < (port := int(ports[name])) < 65_536}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _free_port(first: int, reserved: ExitStack) -> int:
    """The first port from here upward that is free on loopback and that no other demo is about to take."""
    for port in range(first, min(first + _PORTS_TRIED, 65_536)):
        if _is_free(port) and _reserve(port, reserved):
            return port
    raise RefusedError("demo.no_free_port", remedy=Remedy.CHANGE, first=first, last=first + _PORTS_TRIED)


def _reserve(port: int, reserved: ExitStack) -> bool:
    """Two demos that start at once must not choose the same port: the name is free again when this process is gone."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0corranto-demo-port-{port}")
    except OSError:
        name.close()
        return False
    reserved.enter_context(name)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do it: a port in TIME_WAIT from the last run counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
