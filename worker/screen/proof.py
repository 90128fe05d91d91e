"""The proof of the books as lines for a person. Pure."""

from worker.operations.verify import Proof
from worker.quantities import count
from worker.screen.layout import Line, paragraph


def render_proof(proof: Proof) -> list[Line]:
    """The proof as lines for a person."""
    counted = f"{count(proof.issues, 'issue')}, {count(proof.rows, 'ledger row')}"
    if proof.adds_up:
        return [Line(f"The books add up: {counted}; counters, claims and journals agree.", "green")]
    lines = [Line(f"The books do not add up: {count(len(proof.discrepancies), 'discrepancy', 'discrepancies')}", "red")]
    for each in proof.discrepancies:
        lines += paragraph(f"{each.where}: {each.what}", first="  ", rest="    ")
    return [*lines, Line(f"Counted: {counted}.")]
