"""What the layouts say by themselves: in the reader's language, whole, and in its direction."""

from dataclasses import fields
from string import Formatter

import pytest

from worker.compose.wording import Wording, direction, wording_for

LANGUAGES = ["en", "fr", "zh-Hans", "ru", "ko", "hi", "ja", "ar"]


def holes(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_reader_gets_an_empty_word_or_misses_a_title_a_date_or_the_way_out(language: str) -> None:
    wording, english = wording_for(language), wording_for("en")

    assert wording.language == language
    for field in fields(Wording):
        text = getattr(wording, field.name)
        assert text.strip() == text
        assert text
        assert holes(text) == holes(getattr(english, field.name)), field.name


@pytest.mark.parametrize(
    ("language", "spoken"),
    [
        ("en-GB", "en"),
        ("FR", "fr"),
        ("fr-CA", "fr"),
        ("zh", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh-Hans-SG", "zh-Hans"),
        ("zh-Hant", "en"),
        ("zh-TW", "en"),
        ("zh-HK", "en"),
        ("ja-JP", "ja"),
        ("ar-EG", "ar"),
        ("pt", "en"),
        ("", "en"),
    ],
)
def test_a_reader_gets_the_nearest_language_and_never_another_script_than_asked(language: str, spoken: str) -> None:
    assert wording_for(language).language == spoken


@pytest.mark.parametrize(
    ("language", "way"),
    [
        ("ar", "rtl"),
        ("he-IL", "rtl"),
        ("FA", "rtl"),
        ("ur-Latn", "ltr"),
        ("az-Arab", "rtl"),
        ("pa-arab-PK", "rtl"),
        ("en", "ltr"),
        ("ja", "ltr"),
        ("arn", "ltr"),
    ],
)
def test_a_mail_runs_in_the_direction_its_language_is_read(language: str, way: str) -> None:
    assert direction(language) == way


def test_the_words_of_an_arabic_mail_run_from_right_to_left() -> None:
    assert (wording_for("ar").dir, wording_for("fr").dir) == ("rtl", "ltr")
