"""An outcome in three letters comes back as it was, and letters that nobody can read are doubt."""

import itertools

import pytest

from worker.dispatch.verdict import NO_REPLY, ONLY_THE_CODE, outcome_of, verdict_of
from worker.journal.slot import Mark, Slot
from worker.transport.replies import Outcome, Permanence, Phase, Scope

DOUBT = Outcome(Permanence.DOUBT, Scope.SESSION, Phase.BODY, None, None, NO_REPLY)


def test_every_outcome_comes_back_from_its_letters_without_the_words() -> None:
    seen = set()
    for permanence, scope, phase in itertools.product(Permanence, Scope, Phase):
        letters = verdict_of(Outcome(permanence, scope, phase, 550, "5.1.1", "the relay's words"))
        back = outcome_of(Slot(Mark.ANSWERED, verdict=letters, code=550, enhanced="5.1.1"))
        sent = Outcome(permanence, scope, phase, 550, "5.1.1", ONLY_THE_CODE)
        assert back == (None if permanence is Permanence.UNSENT else sent)
        assert len(letters) == 3
        seen.add(letters)
    assert len(seen) == len(Permanence) * len(Scope) * len(Phase)


@pytest.mark.parametrize(
    ("slot", "outcome"),
    [
        (Slot(Mark.FREED, verdict="arb"), None),
        (Slot(Mark.ARMED), DOUBT),
        (Slot(Mark.ARMED, verdict="arb"), DOUBT),  # of the copy that was there before
        (Slot(Mark.ANSWERED, verdict="ar"), DOUBT),
        (Slot(Mark.ANSWERED, verdict="arbb"), DOUBT),
        (Slot(Mark.ANSWERED, verdict="?rb"), DOUBT),
        (Slot(Mark.ANSWERED, verdict="a?b"), DOUBT),
        (Slot(Mark.ANSWERED, verdict="ar?"), DOUBT),
    ],
)
def test_what_has_no_reply_or_none_that_can_be_read_is_in_doubt(slot: Slot, outcome: Outcome | None) -> None:
    assert outcome_of(slot) == outcome
