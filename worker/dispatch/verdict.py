"""An outcome as three letters, and back: what a journal's slot has room for. Pure.

The letters are written by one version and read by another: a new member gets a letter that was never used.
"""

from worker.journal.slot import Mark, Slot
from worker.transport.replies import Outcome, Permanence, Phase, Scope

_PERMANENCE = {
    Permanence.ACCEPTED: "a",
    Permanence.TRANSIENT: "t",
    Permanence.PERMANENT: "p",
    Permanence.DOUBT: "d",
    Permanence.UNSENT: "u",
}
_SCOPE = {Scope.RECIPIENT: "r", Scope.MESSAGE: "m", Scope.SENDER: "s", Scope.SESSION: "l"}
_PHASE = {
    Phase.LOCAL: "l",
    Phase.CONNECT: "c",
    Phase.GREETING: "g",
    Phase.EHLO: "e",
    Phase.STARTTLS: "t",
    Phase.AUTH: "a",
    Phase.RSET: "s",
    Phase.MAIL: "m",
    Phase.RCPT: "r",
    Phase.DATA: "d",
    Phase.BODY: "b",
    Phase.QUIT: "q",
}
_PERMANENCES = {letter: member for member, letter in _PERMANENCE.items()}
_SCOPES = {letter: member for member, letter in _SCOPE.items()}
_PHASES = {letter: member for member, letter in _PHASE.items()}

NO_REPLY = "the worker died before the relay's answer"
ONLY_THE_CODE = "the worker died after this answer, which its journal keeps without the words"


def verdict_of(outcome: Outcome) -> str:
    return _PERMANENCE[outcome.permanence] + _SCOPE[outcome.scope] + _PHASE[outcome.phase]


def outcome_of(slot: Slot) -> Outcome | None:
    """What became of the copy a slot speaks of: its outcome, doubt for one that was only armed, None for one that
    certainly was not taken. A verdict that cannot be read is doubt too.
    """
    if slot.mark is Mark.FREED:
        return None
    if slot.mark is Mark.ARMED or len(slot.verdict) != 3:
        return _doubt(NO_REPLY)
    permanence, scope, phase = tuple(slot.verdict)
    if permanence not in _PERMANENCES or scope not in _SCOPES or phase not in _PHASES:
        return _doubt(NO_REPLY)
    if _PERMANENCES[permanence] is Permanence.UNSENT:
        return None
    return Outcome(_PERMANENCES[permanence], _SCOPES[scope], _PHASES[phase], slot.code, slot.enhanced, ONLY_THE_CODE)


def _doubt(why: str) -> Outcome:
    return Outcome(Permanence.DOUBT, Scope.SESSION, Phase.BODY, None, None, why)
