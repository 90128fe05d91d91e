"""DKIM keys on disk: `<state dir>/dkim/<domain>/<selector>.pem`, readable by their owner only.

The newest key of a domain signs; older ones stay until their DNS records may go (RFC 6376 3.1: selectors rotate).
"""

import os
from pathlib import Path

from worker.domain.address import domain_of
from worker.errors import RefusedError, Remedy, UnreachableError, UsageError
from worker.message.dkim import DkimError, Signer, create_key, public_key


def make_key(dkim_dir: Path, domain: str, selector: str) -> Path:
    """A new key file, mode 0600. Raises RefusedError when the selector exists, UsageError when a name is unfit."""
    pem = create_key()
    try:
        Signer(domain, selector, pem)
    except DkimError as error:
        raise UsageError("dkim.name_unfit", why=str(error)) from error
    path = dkim_dir / domain / f"{selector}.pem"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RefusedError("dkim.selector_taken", domain=domain, selector=selector, remedy=Remedy.CHANGE) from None
    except OSError as error:
        raise UnreachableError("dkim.key_not_kept", folder=str(path.parent), reason=error.strerror) from error
    with os.fdopen(file, "wb") as target:
        target.write(pem)
    return path


def key_files(dkim_dir: Path, domain: str) -> list[Path]:
    """Key files of a domain, the one that signs first."""
    return sorted((dkim_dir / domain).glob("*.pem"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def load_signer(dkim_dir: Path, from_address: str) -> Signer | None:
    """The signer for an author's domain, or None when there is no key. Raises UnreachableError for an unfit one."""
    domain = domain_of(from_address)
    for path in key_files(dkim_dir, domain):
        try:
            return Signer(domain, path.stem, path.read_bytes())
        except OSError as error:
            raise UnreachableError("dkim.key_unreadable", path=str(path), reason=error.strerror) from error
        except DkimError as error:
            raise UnreachableError("dkim.key_unusable", path=str(path), why=str(error)) from error
    return None


def show_public(path: Path) -> str:
    """The base64 public half of a key file."""
    return public_key(path.read_bytes())
