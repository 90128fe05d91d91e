"""What a receiver's content filter says about the frame we build around any text."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.mails import COMPILED, JANE, builder
from tests.support.spam import spam_score
from worker.message.dkim import Signer, create_key

PARAGRAPHS = (
    "The river rose by forty centimetres after the rain of last week. Volunteers measured it at six bridges.",
    "The next walk along the bank starts at the old mill on Saturday at ten. Everybody is welcome.",
    "Our members in Basel have published their map of the flood plain, with notes for walkers and teachers.",
)


@pytest.mark.needs("spamassassin")
def test_an_ordinary_issue_scores_below_one() -> None:
    link = "{{ unsubscribe_url | default('') }}"
    compiled = replace(
        COMPILED,
        text="Dear {{ name | default('reader') }},\n\n" + "\n\n".join(PARAGRAPHS) + f"\n\nUnsubscribe:\n{link}\n",
        html="<!DOCTYPE html>\n<html lang='en'><head><title>River Notes</title></head><body>"
        "<p>Dear {{ name | default('reader') }},</p>\n"
        + "".join(f"<p>{paragraph}</p>\n" for paragraph in PARAGRAPHS)
        + f"<p><a href='{link}'>Unsubscribe</a></p></body></html>\n",
        publication_title="River Notes",
    )
    signer = Signer("letters.example.org", "c1", create_key())

    score, rules = spam_score(builder(compiled, signer=signer).build(JANE, datetime.now(UTC)).message)

    assert score < 1.0, rules
