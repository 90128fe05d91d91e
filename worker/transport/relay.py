"""The relay: its address as a value, a probe of what it can do, and one mail in one call.

`probe` is what `doctor` shows, `send_one` what proofs and system mails use; the issue itself goes through `pool`.
"""

from dataclasses import dataclass

from worker.settings import Settings
from worker.transport.door import OpeningError
from worker.transport.handshake import open_wire
from worker.transport.health import Pauses
from worker.transport.next_hop import Relay, Timeouts
from worker.transport.pool import Pool, Transaction
from worker.transport.replies import Outcome, Phase, unsent
from worker.transport.session import Session

__all__ = ["Relay", "RelayReport", "Timeouts", "probe", "relay_of", "send_one"]


def relay_of(settings: Settings) -> Relay:
    """The relay the settings name. Raises UsageError, never with the password in it."""
    return Relay.from_url(
        settings.smtp_url.get_secret_value(),
        ca_file=settings.smtp_ca_file or None,
        hello_name=settings.smtp_hello_name,
        connections=settings.smtp_connections,
        per_connection=settings.smtp_messages_per_connection,
    )


_PATIENT = Pauses(silent_s=3600.0)
"""One mail waits for the last deadline of a relay that keeps its greeting back, as some do against spam."""


@dataclass(frozen=True, slots=True)
class RelayReport:
    """What a probe learned. `cause` None means that all of it worked; else the first true cause."""

    key: str
    cause: str | None = None
    phase: Phase | None = None
    code: int | None = None
    tls_version: str | None = None
    signed_in: bool = False
    extensions: tuple[str, ...] = ()
    size_limit: int | None = None
    """Octets of the largest message it takes, None when it names no limit."""
    form: str = ""
    """In words: how mails will be handed over."""

    @property
    def is_ready(self) -> bool:
        return self.cause is None

    @property
    def is_reachable(self) -> bool:
        """Whether something at least greeted as a mail server would."""
        return self.cause is None or self.phase not in (Phase.CONNECT, Phase.GREETING)


async def probe(relay: Relay) -> RelayReport:
    """Open a session as sending would, note what it offers, and quit. Never raises for what the relay does."""
    try:
        wire, offer = await open_wire(relay)
    except OpeningError as error:
        return RelayReport(relay.key, error.cause, error.phase, error.code)
    session = Session(relay, wire, offer)
    await session.quit()
    extensions = tuple(f"{name} {words}".rstrip() for name, words in offer.extensions.items())
    return RelayReport(
        relay.key,
        tls_version=offer.tls_version,
        signed_in=offer.signed_in,
        extensions=extensions,
        size_limit=offer.size_limit,
        form=session.form,
    )


async def send_one(relay: Relay, transaction: Transaction) -> Outcome:
    """Hand one mail over. A relay that cannot be used gives UNSENT with the cause as its text."""
    outcomes: list[Outcome] = []
    pool = Pool(
        relay, arm=lambda _mail, _port: True, record=lambda _, outcome: outcomes.append(outcome), pauses=_PATIENT
    )
    try:
        pool.submit([transaction])
        await pool.drained()
        fault = pool.fault
    finally:
        await pool.close(relay.timeouts.quit_s)
    if fault is not None and outcomes[0].code is None:
        return unsent(fault.phase, fault.cause, fault.code)
    return outcomes[0]
