"""A relay's URL that is mixed up: the sentence names the mix-up and repeats no part of a secret."""

import traceback

import pytest

from tests.support.words import refuses
from worker import settings
from worker.errors import SettingsError, UsageError
from worker.relay_url import RelayUrlError, read_relay_url
from worker.screen.sentences import word
from worker.transport.next_hop import Relay

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("password", "decoded"),
    [
        ("pl%61in", "plain"),
        ("p%2Fw%3A%40%23%3F%25", "p/w:@#?%"),
        ("p@w", "p@w"),
        ("p:w", "p:w"),
        ("100%", "100%"),
        ("p[w]", "p[w]"),
        ("größe", "größe"),
        ("p\\w$&'()*+,;=!~`^{}|<>\"", "p\\w$&'()*+,;=!~`^{}|<>\""),
    ],
)
def test_a_password_is_read_whatever_stands_in_it(password: str, decoded: str):
    relay = Relay.from_url(f"smtps://news@example.org:{password}@relay.example.org:465")
    assert (relay.username, relay.password, relay.key) == ("news@example.org", decoded, "relay.example.org:465")
    assert decoded not in repr(relay) + repr(read_relay_url(f"smtps://news:{password}@relay.example.org"))


MIXED_UP = [
    (f"smtp://news:{SECRET}/x@relay.example.org", "%2F"),
    (f"smtp://news:12{SECRET}/x@relay.example.org", "%2F"),
    (f"smtp://news:25/{SECRET}@relay.example.org", "%2F"),
    (f"smtp://news:{SECRET}#x@relay.example.org", "%23"),
    (f"smtp://news:25#{SECRET}@relay.example.org", "%23"),
    (f"smtp://news:{SECRET}?x@relay.example.org", "%3F"),
    (f"smtp://news:25?{SECRET}@relay.example.org:587", "%3F"),
    (f"smtp://news:25?starttls=off{SECRET}@relay.example.org", "%3F"),
    (f"smtp://news:{SECRET}", "port from 1 to 65535"),
    (f"smtp://news:{SECRET}@relay.example.org:x{SECRET}", "port from 1 to 65535"),
    (f"smtp://news:{SECRET}@relay.example.org:", "port from 1 to 65535"),
    (f"smtp://news:{SECRET}@relay.example.org:70000", "port from 1 to 65535"),
    (f"smtp://news:{SECRET}@", "no host"),
    (f"smtp://news:{SECRET}@relay[{SECRET}].example.org", "no host has"),
    (f"smtp://news:{SECRET}@2001:db8::1:25", "brackets"),
    (f"smtp://{SECRET}@relay.example.org", "a user name and a password"),
    (f"smtp://:{SECRET}@relay.example.org", "a user name and a password"),
    (f"smtp://news:%FF{SECRET}@relay.example.org", "%25"),
    (f"smtp://news:{SECRET}\t@relay.example.org", "blank"),
    (f"smtp://news:{SECRET} x@relay.example.org", "blank"),
    (f"http://news:{SECRET}@relay.example.org", "smtp:// or smtps://"),
    (f"smtp:news:{SECRET}@relay.example.org", "smtp:// or smtps://"),
    (f"news:{SECRET}@relay.example.org:587", "smtp:// or smtps://"),
    (f"smtps://news:{SECRET}@relay.example.org?starttls=required", "leave ?starttls out"),
    (f"smtp://news:{SECRET}@relay.example.org?ssl={SECRET}", "the only option"),
    (f"smtp://news:{SECRET}@relay.example.org/{SECRET}", "nothing but an option"),
]


@pytest.mark.parametrize(("url", "words"), MIXED_UP)
def test_what_is_mixed_up_in_a_relays_url_is_named_without_the_secret(url: str, words: str):
    with refuses(UsageError, "relay's URL") as refused:
        Relay.from_url(url)
    assert words in word(refused.value)
    told = "".join(traceback.format_exception(refused.value)) + word(refused.value) + repr(refused.value.trouble)
    assert SECRET not in told


@pytest.mark.parametrize(("url", "words"), MIXED_UP)
def test_a_process_refuses_it_in_the_same_words(url: str, words: str):
    with pytest.raises(SettingsError) as refused:
        settings.load({"CORRANTO_SMTP_URL": url})
    said = word(refused.value)
    assert "CORRANTO_SMTP_URL" in said
    assert words in said
    assert SECRET not in said + "".join(traceback.format_exception(refused.value)) + repr(refused.value.problems)


def test_a_part_that_cannot_be_read_has_one_of_a_closed_list_of_names():
    with pytest.raises(RelayUrlError) as error:
        read_relay_url("smtp://relay.example.org:x")
    assert error.value.problem == "port"
