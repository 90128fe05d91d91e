"""DKIM keys on disk: one file per domain, `<selector>._domainkey.<domain>.pem`, readable by its owner only.

The file's name is the DNS name of its record. A key that others may read is refused: who has it can sign as us.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from worker.errors import RefusedError, UsageError
from worker.message.dkim import DkimError, Signer, create_key, dns_record, public_key, zone_line

_INFIX = "._domainkey."
_SUFFIX = ".pem"


@dataclass(frozen=True)
class KeyFile:
    """A key at rest: where it lies, for which domain and selector."""

    path: Path
    domain: str
    selector: str

    @property
    def record_name(self) -> str:
        """DNS name of the TXT record (RFC 6376 3.6.2.1)."""
        return f"{self.selector}{_INFIX}{self.domain}"

    def record_value(self) -> str:
        """What the TXT record holds. Raises UsageError when the key cannot be read."""
        return dns_record(public_key(self._read()))

    def record_line(self) -> str:
        """The record as a line of a zone file. Raises UsageError when the key cannot be read."""
        return zone_line(self.domain, self.selector, public_key(self._read()))

    def signer(self) -> Signer:
        """Raises UsageError when the key cannot be read, or when others can."""
        return Signer(self.domain, self.selector, self._read())

    def _read(self) -> bytes:
        try:
            if self.path.stat().st_mode & 0o077:
                raise UsageError(f"the DKIM key {self.path} can be read by others: chmod 600 it, or make a new one")
            pem = self.path.read_bytes()
            public_key(pem)
        except OSError as error:
            raise UsageError(f"the DKIM key {self.path} cannot be read: {error.strerror}") from None
        except DkimError as error:
            raise UsageError(f"the DKIM key {self.path} cannot be used: {error}") from None
        return pem


def find_key(folder: Path, domain: str) -> KeyFile | None:
    """The key of exactly this domain (lower case, A-labels), or None."""
    return next((key for key in list_keys(folder) if key.domain == domain.lower()), None)


def find_signer(folder: Path, domain: str) -> Signer | None:
    """What signs for a From domain, or None when there is no key for it. Raises UsageError for a key that is bad."""
    key = find_key(folder, domain)
    return None if key is None else key.signer()


def list_keys(folder: Path) -> list[KeyFile]:
    """All keys, by name; of several selectors of one domain the last comes first, so that it signs."""
    found = []
    for path in sorted(folder.glob(f"*{_INFIX}*{_SUFFIX}"), reverse=True):
        selector, _, domain = path.name.removesuffix(_SUFFIX).partition(_INFIX)
        found.append(KeyFile(path, domain, selector))
    return found


def create_key_file(folder: Path, domain: str, selector: str) -> KeyFile:
    """Make a key for a domain. Raises RefusedError when it has one, UsageError for a bad name or an unwritable disk."""
    if (known := find_key(folder, domain)) is not None:
        raise RefusedError(
            f"{domain} already has the DKIM key {known.path}: see it with corranto dkim show-dns {domain}"
        )
    pem = create_key()
    try:
        Signer(domain, selector, pem)
    except DkimError as error:
        raise UsageError(f"{error}: write a domain like news.example.org and a selector like s1") from None
    key = KeyFile(folder / f"{selector}{_INFIX}{domain}{_SUFFIX}", domain, selector)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never readable by others, not even for a moment, and never over another key.
        with os.fdopen(os.open(key.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"the DKIM key cannot be written to {folder}: {error.strerror}") from None
    return key
