"""Settings: everything wrong is named at once, with what is allowed, and never a secret."""

import pytest

from tests.support.words import refuses
from worker import settings
from worker.errors import SettingsError
from worker.screen.sentences import word

WRONG = {
    "relay_rate": "abc",
    "trusted_proxies": "zzz",
    "base_url": "http://127.0.0.1:bad",
    "smtp_ca_file": "/nonexistent.pem",
    "smtp_url": "smtp://user:a-password@mail.example.org?starttls=maybe",
    "metrics_host": "???",
    "database_url": "mysql://user:a-password@db.example.org/x",
    "broker_url": "amqp://user:a-password@broker.example.org",
    "secret_keys": "a-password",
    "hold_s": "999999",
    "web_port": "abc",
    "log_level": "loud",
}


def test_all_wrong_values_are_named_at_once() -> None:
    # Given / When
    with pytest.raises(SettingsError) as caught:
        settings.load({f"CORRANTO_{key.upper()}": value for key, value in WRONG.items()})

    # Then
    assert len(caught.value.problems) == len(WRONG)
    for key in WRONG:
        assert any(f"CORRANTO_{key.upper()}: " in word(problem) for problem in caught.value.problems), key
    assert "a-password" not in str(caught.value)
    assert "a-password" not in word(caught.value)


def test_a_number_out_of_range_is_told_both_bounds() -> None:
    with refuses(SettingsError, "from 0 to 86400, but it is 999999"):
        settings.load({"CORRANTO_HOLD_S": "999999"})


@pytest.mark.parametrize("rate", ["", "none", "20/s", "20/s, 300/min,5000/h, 20000 / d"])
def test_a_rate_that_can_be_leased_is_a_rate_that_can_be_set(rate: str) -> None:
    assert settings.load({"CORRANTO_RELAY_RATE": rate}).relay_rate == rate


@pytest.mark.parametrize("rate", ["0/s", "20/s,30/s", "20", "20/week", "none, 20/s", "-1/s"])
def test_a_rate_that_cannot_be_leased_is_refused(rate: str) -> None:
    with refuses(SettingsError, "n/s, n/min, n/h, n/d"):
        settings.load({"CORRANTO_RELAY_RATE": rate})


@pytest.mark.parametrize(
    "name",
    [
        "",
        "mail.example.org",
        "xn--sd-xka.example.org",
        "worker-3",
        "MAIL.example.ORG",
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
    ],
)
def test_a_name_that_may_stand_behind_ehlo_can_be_set(name: str) -> None:
    assert settings.load({"CORRANTO_SMTP_HELLO_NAME": name}).smtp_hello_name == name


@pytest.mark.parametrize(
    "name",
    [
        "süd.example.org",
        "mail example.org",
        "mail.example.org\r\nMAIL FROM:<x@example.org>",
        "mail.example.org\n",
        "my_host.example.org",
        "-mail.example.org",
        "mail-.example.org",
        "mail..example.org",
        "mail.example.org.",
        "a" * 64 + ".example.org",
        "a." * 130 + "org",
        "192.0.2.1",
        "2001:db8::1",
        "[192.0.2.256]",
        "[2001:db8::1]",
        "[IPv6:192.0.2.1]",
        "[IPv6:fe80::1%eth0]",
        "[]",
        "\udcff",
    ],
)
def test_a_name_that_would_end_every_connection_at_ehlo_is_refused_with_the_allowed_forms(name: str) -> None:
    with refuses(SettingsError, r"must be empty, a host name such as mail\.example\.org") as caught:
        settings.load({"CORRANTO_SMTP_HELLO_NAME": name})
    assert "[192.0.2.1]" in word(caught.value)
