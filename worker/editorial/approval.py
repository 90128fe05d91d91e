"""What the links of a proof show, and the yes or no of who got a copy. Readers are never touched.

Whoever holds a copy's link may approve it: it was mailed to one person, who may read it on a phone without any account.
"""

from dataclasses import dataclass
from datetime import datetime

from worker.domain.address import mask
from worker.domain.compiled import CompiledIssue
from worker.domain.publication import Publication
from worker.editorial.views import Figure
from worker.storage import acts, proof_mails, publications, views
from worker.storage.engine import Database
from worker.storage.proof_mails import STAND_IN
from worker.storage.views import FigurePage
from worker.tokens import Token


@dataclass(frozen=True)
class ShownProof:
    """One copy of a proof, as its links show it."""

    publication: Publication
    slug: str
    subject: str
    masked: str
    """The address it was mailed to, as a reader's page would show theirs; "" after erasure."""
    sent_at: datetime
    approved_at: datetime | None
    is_newest: bool
    """No other text of this issue was mailed later."""
    body: str

    def view_html(self, token: str) -> str:
        """The page behind "View in browser", for the copy with this token."""
        return CompiledIssue.from_json(self.body).view_html.replace(STAND_IN, token)


def read_proof(database: Database, token: Token) -> ShownProof | None:
    """The copy a proof's token names; None for a preview's, and for a proof that is no longer kept."""
    with database.read() as conn:
        copy = proof_mails.find(conn, token.issue, token.generation)
        if copy is None:
            return None
        newest = proof_mails.newest(conn, copy.publication_id, copy.slug)
        return ShownProof(
            publications.get_publication_by_id(conn, copy.publication_id),
            copy.slug,
            copy.subject,
            mask(copy.address) if copy.address else "",
            copy.sent_at,
            copy.approved_at,
            newest is None or newest.fingerprint == copy.fingerprint,
            copy.body,
        )


def read_proof_figure(database: Database, token: Token, figure_id: str) -> Figure | None:
    """A figure of a proof's text, which has no page of its own before it is queued."""
    shown = read_proof(database, token)
    if shown is None:
        return None
    found = next((one for one in CompiledIssue.from_json(shown.body).figures if one["id"] == figure_id), None)
    if found is None:
        return None
    with database.read() as conn:
        width, height = views.find_size(conn, found["media"])
    page = FigurePage(
        found["id"], token.issue, shown.publication.id, shown.subject, found["media"], found["alt"], found["caption"],
        found["credit"], width, height,
    )  # fmt: skip
    return Figure(page, shown.publication)


def approve(database: Database, token: Token, *, approved: bool) -> None:
    """Say yes to the text of a copy, or take it back; the list of acts names the copy. Repeating changes nothing."""
    with database.write() as conn:
        copy = proof_mails.find(conn, token.issue, token.generation)
        if copy is not None and proof_mails.approve(conn, token.issue, token.generation, approved=approved):
            what = "proof.approve" if approved else "proof.withdraw"
            acts.record(conn, f"proof {token.issue}, copy {token.generation}", what, f"issue {copy.slug}")
