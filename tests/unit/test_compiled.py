"""The link to an issue's page: its token comes last, wherever the issue shows it."""

import pytest

from tests.support.issues import compiled, newsletter

STAND_IN = "0" * 44
TOKEN = "t" * 44
CARD = "cards:\n  - {title: A card, blurb: Begins here, text: And goes on over there at length.}\n"


def test_no_reader_of_mail_text_or_page_meets_a_link_that_leads_nowhere() -> None:
    # Given an issue whose every part shows the link
    issue = compiled(newsletter(front=CARD))
    everywhere = type(issue)(**{**vars(issue), "view_html": f'{issue.view_html}<a href="/v/{STAND_IN}">'})
    assert all(STAND_IN in part for part in (everywhere.html, everywhere.text, everywhere.view_html))

    # When
    signed = everywhere.with_view_token(STAND_IN, TOKEN)

    # Then
    assert STAND_IN not in signed.to_json()
    assert all(TOKEN in part for part in (signed.html, signed.text, signed.view_html))
    assert signed.fingerprint != everywhere.fingerprint


def test_a_token_of_another_length_would_move_lines_and_is_refused() -> None:
    with pytest.raises(ValueError, match="44 characters for a token of 43"):
        compiled(newsletter()).with_view_token(STAND_IN, TOKEN[1:])
