"""Keys of an installation: the secret that signs links, and the DKIM keys of its domains."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from worker.errors import NotFoundError, Remedy
from worker.message.dkim import dns_record, zone_line
from worker.message.key_store import key_files, make_key, show_public

SECRET_OCTETS = 32


@dataclass(frozen=True)
class DkimRecord:
    """What to publish for a key: a TXT record's name and value, and the same as a line of a zone file."""

    domain: str
    selector: str
    name: str
    value: str
    zone_line: str
    file: Path

    def as_dict(self) -> dict[str, object]:
        """The shape of `dkim create --json` and `dkim show-dns --json`."""
        shown = {name: getattr(self, name) for name in ("domain", "selector", "name", "value")}
        return {**shown, "file": str(self.file)}


def new_secret() -> str:
    """A random key for signing links."""
    return secrets.token_urlsafe(SECRET_OCTETS)


def create_dkim(dkim_dir: Path, domain: str, selector: str) -> DkimRecord:
    """Make a key for a domain. Raises RefusedError when the selector has one, UsageError for an unfit name."""
    name = _fold(domain)
    return _record(name, make_key(dkim_dir, name, selector))


def show_dkim(dkim_dir: Path, domain: str) -> DkimRecord:
    """The record of a domain's newest key, the one that signs. Raises NotFoundError naming domains that have one."""
    name = _fold(domain)
    paths = key_files(dkim_dir, name)
    if not paths:
        known = sorted(path.parent.name for path in dkim_dir.glob("*/*.pem"))
        raise NotFoundError("dkim.no_key", remedy=Remedy.CREATE, domain=name, known=known)
    return _record(name, paths[0])


def _fold(typed: str) -> str:
    """Small letters; a path typed for a domain stays a name that no folder has."""
    return typed.strip().lower().rstrip(".").replace("/", "")


def _record(domain: str, path: Path) -> DkimRecord:
    public, selector = show_public(path), path.stem
    name, line = f"{selector}._domainkey.{domain}", zone_line(domain, selector, public)
    return DkimRecord(domain, selector, name, dns_record(public), line, path)
