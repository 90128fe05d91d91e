"""A proof: the issue as it would be, mailed to a few addresses of the editors, marked as what it is.

Nothing is queued and no reader is touched. The text is kept for a while: its links show what a reader's would, say that
they belong to a proof and change nothing for anybody; who got a copy can approve the text there (`editorial.approval`).
Its pictures are hosted like an issue's, under the names of their content. A preview's links name no proof.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker import clock
from worker.domain.address import AddressError, parse_address
from worker.domain.compiled import CompiledIssue
from worker.editorial.drafts import Draft
from worker.errors import CorrantoError, RefusedError, UnreachableError, UsageError
from worker.message.build import BuildError, MessageBuilder
from worker.message.key_store import load_signer
from worker.settings import Settings
from worker.storage import acts, proof_mails
from worker.storage import media as media_rows
from worker.storage.engine import Database
from worker.storage.proof_mails import STAND_IN
from worker.tokens import Keyring, Purpose, Token
from worker.transport.relay import Relay, relay_of, send_one
from worker.transport.replies import Outcome, Permanence
from worker.transport.transaction import Transaction

MAX_PROOFS = 5
"""More than a few would be a way to mail people who never asked."""

NO_ISSUE = 0
"""What stands for the issue in a proof's headers: it has not been queued."""


@dataclass(frozen=True)
class Proofed:
    """What the relay said about each proof, in the order of the addresses."""

    outcomes: tuple[tuple[str, Outcome], ...]

    @property
    def all_accepted(self) -> bool:
        return all(outcome.permanence is Permanence.ACCEPTED for _, outcome in self.outcomes)


def read_recipients(typed: str) -> list[str]:
    """One to five addresses separated by commas. Raises UsageError."""
    addresses: dict[str, None] = {}
    for part in filter(None, (part.strip() for part in typed.split(","))):
        try:
            addresses[parse_address(part).addr_spec] = None
        except AddressError as error:
            raise UsageError("proof.address", typed=part[:64], why=error.trouble) from error
    if not 1 <= len(addresses) <= MAX_PROOFS:
        raise UsageError("proof.how_many", addresses=len(addresses), most=MAX_PROOFS)
    return list(addresses)


def sign_copy(settings: Settings, proof_id: int, no: int) -> str:
    """The token of one copy of a proof."""
    return Keyring(settings.keys).sign(Token(Purpose.PROOF, generation=no, issue=proof_id))


def preview_token(settings: Settings) -> str:
    """What stands in the links of a preview, which is kept in a file and names no proof."""
    return Keyring(settings.keys).sign(Token(Purpose.PROOF))


def compile_for_proof(settings: Settings, draft: Draft, token: str) -> CompiledIssue:
    """The issue as queueing would freeze it, with a proof's token behind every link to a page of its own."""
    compiled = draft.compile_with(token, "corranto-proof")
    html, plain, view = compiled.html, compiled.text, compiled.view_html
    for figure in compiled.figures:
        # A figure gets its page when the issue is queued; until then the proof shows it.
        page, own = f"{settings.base_url}/figure/{figure['id']}", f"{settings.base_url}/proof/{token}/{figure['id']}"
        html, plain, view = (part.replace(page, own) for part in (html, plain, view))
    return replace(compiled, html=html, text=plain, view_html=view)


def proof_builder(database: Database, settings: Settings, compiled: CompiledIssue) -> MessageBuilder:
    """What builds the proofs of an issue compiled by `compile_for_proof`; signs as the issue would."""
    return MessageBuilder(
        compiled,
        keyring=Keyring(settings.keys),
        issue_id=NO_ISSUE,
        instance=database.instance().pepper,
        base_url=settings.base_url,
        signer=load_signer(settings.dkim_dir, compiled.from_address),
        fixed_return_path=settings.return_path == "fixed",
    )


def send_proof(database: Database, settings: Settings, draft: Draft, addresses: Sequence[str]) -> Proofed:
    """Hand one proof per address to the relay and report its answers.

    Raises UnreachableError when the relay cannot be used, with the cause; RefusedError when it takes none of them.
    """
    hosted = draft.hosted_rows()
    text = {
        "publication_id": draft.publication.id,
        "slug": draft.text.slug,
        "subject": draft.text.subject,
        "fingerprint": draft.fingerprint,
        "body": compile_for_proof(settings, draft, STAND_IN).to_json(),
    }
    with database.write() as conn:
        proof_id = proof_mails.add(conn, text, addresses)
        for row in hosted:
            media_rows.put(conn, row)
        acts.record(conn, settings.who, "proof.send", f"issue {draft.text.slug}", {"copies": len(addresses)})
    relay = relay_of(settings)
    # Somebody is watching: a fifth of what an issue's mail may wait.
    relay = replace(relay, timeouts=relay.timeouts.scaled(0.2))
    outcomes = []
    for no, address in enumerate(addresses, 1):
        token = sign_copy(settings, proof_id, no)
        builder = proof_builder(database, settings, compile_for_proof(settings, draft, token))
        outcomes.append((address, _hand_over(relay, builder, address, token)))
    if all(outcome.permanence is not Permanence.ACCEPTED for _, outcome in outcomes):
        raise _refusal(relay, outcomes[0][1])
    return Proofed(tuple(outcomes))


def _hand_over(relay: Relay, builder: MessageBuilder, address: str, token: str) -> Outcome:
    try:
        built = builder.build_proof(address, clock.utcnow(), token=token)
    except BuildError as error:
        raise UsageError("proof.unbuildable", why=error.reason) from error
    return asyncio.run(send_one(relay, Transaction(address, built.envelope, built.message)))


def _refusal(relay: Relay, outcome: Outcome) -> CorrantoError:
    """The relay's answer as an error: not reached, or reached and refusing."""
    if outcome.permanence is Permanence.UNSENT:
        return UnreachableError("proof.unsent", cause=outcome.text)
    said = " ".join(str(part) for part in (outcome.code, outcome.enhanced, outcome.text) if part)
    if outcome.permanence is Permanence.DOUBT:
        return UnreachableError("proof.in_doubt", relay=relay.key, said=said)
    return RefusedError("proof.refused", relay=relay.key, said=said)
