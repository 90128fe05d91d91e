"""Which host this is: the machine since its boot, with this state directory.

A rebooted machine or a copied directory is another host, so whatever a power cut took from its files, or came about
after the copy was made, is not missed: nobody reads them as that host's any more.
"""

import uuid
from pathlib import Path

from worker.errors import UnreachableError
from worker.journal.memory import only_one

_MARK = "host-uuid"


def host_id(state_dir: Path) -> str:
    """At most 80 characters. Makes the directory's uuid when it is new. Raises UnreachableError."""
    boot = _boot_id()
    mark = state_dir / _MARK
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not mark.exists():
            with only_one(state_dir):
                if not mark.exists():
                    made = state_dir / f"{_MARK}.{uuid.uuid4()}"
                    made.write_text(str(uuid.uuid4()))
                    made.replace(mark)  # the last change of its ctime
        stands = mark.stat()  # a copy has the same words in another place, or in the same one later
        place = f"{mark.read_text(errors='replace').strip()} {stands.st_dev}:{stands.st_ino}:{stands.st_ctime_ns}"
        return f"{boot}.{uuid.uuid5(uuid.NAMESPACE_OID, place)}"[:80]
    except OSError as error:
        raise UnreachableError("journal.cannot_be_kept", place=str(state_dir), why=error.strerror) from error


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "no-boot-id"
