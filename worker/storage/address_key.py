"""The key of address hashes: random, and kept in the database only under lock.

Each of CORRANTO_SECRET_KEYS closes a copy of it, so whoever holds one of them opens it and a dump alone tells nobody's
address, erased or not. Processes add a copy for a new secret; only `db upgrade` drops those of secrets that are gone,
since on another machine they may still be the only ones known.
"""

import secrets as randomness
from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from worker.errors import SettingsError, Trouble
from worker.storage.schema import instance
from worker.tokens import WRAPPED_OCTETS, unwrap_key, wrap_key

KEY_OCTETS = 32


def open_key(wrapped: bytes | None, secrets: Sequence[str], place: str) -> bytes | None:
    """The key; None when none was made yet or no secret is set. Raises SettingsError when the secrets are others."""
    if not wrapped or not secrets:
        return None
    for secret in secrets:
        for copy in _copies(wrapped):
            if (key := unwrap_key(secret, copy)) is not None:
                return key
    raise SettingsError([Trouble("settings.other_keys", place=place)])


def lacks_copy(wrapped: bytes | None, key: bytes | None, secrets: Sequence[str]) -> bool:
    """Whether the key, or a copy that one of the secrets opens, is still to be made."""
    if not secrets:
        return False
    return key is None or any(wrap_key(secret, key) not in _copies(wrapped or b"") for secret in secrets)


def keep_key(conn: Connection, secrets: Sequence[str], place: str, *, drop_others: bool = False) -> bytes:
    """Make the key if there is none, and a copy for each secret; returns it. Raises SettingsError for other secrets.

    The row is locked, so that two processes never make two keys.
    """
    stored = conn.execute(select(instance.c.wrapped_keys).where(instance.c.id == 1).with_for_update()).scalar_one()
    key = open_key(stored, secrets, place) or randomness.token_bytes(KEY_OCTETS)
    ours = [wrap_key(secret, key) for secret in secrets]
    others = [] if drop_others or not stored else [copy for copy in _copies(stored) if copy not in ours]
    kept = b"".join([*dict.fromkeys(ours), *others])
    if kept != stored:
        conn.execute(update(instance).where(instance.c.id == 1).values(wrapped_keys=kept))
    return key


def _copies(wrapped: bytes) -> list[bytes]:
    return [wrapped[at : at + WRAPPED_OCTETS] for at in range(0, len(wrapped), WRAPPED_OCTETS)]
