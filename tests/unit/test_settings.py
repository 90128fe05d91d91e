"""Settings: everything wrong is named at once, with what is allowed, and never a secret."""

from pathlib import Path

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


BOUNDS = {
    "smtp_connections": (1, 200),
    "smtp_messages_per_connection": (1, 100_000),
    "web_port": (0, 65_535),
    "metrics_port": (0, 65_535),
    "hold_s": (0, 86_400),
    "late_grace_s": (60, 604_800),
    "retry_life_s": (60, 432_000),
    "claim_size": (200, 5_000),
    "shard_size": (200, 100_000),
    "optout_fresh_s": (0.5, 10),
    "worker_threads": (1, 32),
    "drain_s": (1, 900),
    "sink_port": (0, 65_535),
    "sink_keep": (100, 1_000_000),
}


@pytest.mark.parametrize(("name", "bounds"), list(BOUNDS.items()))
def test_a_number_is_taken_at_both_of_its_bounds_and_refused_beyond_them(
    name: str, bounds: tuple[float, float]
) -> None:
    low, high = bounds
    for allowed in bounds:
        assert getattr(settings.load({f"CORRANTO_{name.upper()}": str(allowed)}), name) == allowed
    for refused in (low - 0.1 if name == "optout_fresh_s" else low - 1, high + 1):
        with refuses(SettingsError, f"must be a number from {low} to {high}, but it is {refused}"):
            settings.load({f"CORRANTO_{name.upper()}": str(refused)})


def test_every_number_among_the_settings_has_bounds_that_are_tested() -> None:
    numbers = {name for name, field in settings.Settings.model_fields.items() if field.annotation in (int, float)}
    assert numbers == set(BOUNDS)


def test_a_file_overrides_the_defaults_and_the_environment_overrides_the_file(tmp_path: Path) -> None:
    # Given
    file = tmp_path / "own.toml"
    file.write_text("hold_s = 11\nclaim_size = 300\n")

    # When
    given = settings.load({"CORRANTO_CONFIG": str(file), "CORRANTO_HOLD_S": "22"})

    # Then
    assert (given.hold_s, given.claim_size) == (22, 300)
    assert given.drain_s == settings.load({}).drain_s


def test_a_wrong_value_in_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("hold_s = -1\nhodl_s = 2\n")
    with pytest.raises(SettingsError) as caught:
        settings.load({"CORRANTO_CONFIG": str(file)})
    assert [word(problem) for problem in caught.value.problems] == [
        f"there is no setting hodl_s ({file}); did you mean hold_s?",
        f"hold_s in {file}: must be a number from 0 to 86400, but it is -1",
    ]


def test_the_first_key_signs_and_the_others_keep_their_place() -> None:
    keys = ["a" * 32, "b" * 32, "c" * 40]
    assert settings.load({"CORRANTO_SECRET_KEYS": f" {keys[0]} ,{keys[1]},, {keys[2]}"}).keys == keys
    with refuses(SettingsError, "make a key with `corranto key new`"):
        _ = settings.load({"CORRANTO_SECRET_KEYS": ""}).keys


def test_one_short_key_among_long_ones_is_refused() -> None:
    with refuses(SettingsError, "at least 32 characters"):
        settings.load({"CORRANTO_SECRET_KEYS": "a" * 32 + "," + "b" * 31})


@pytest.mark.parametrize(
    ("url", "rate", "in_force"),
    [
        ("smtp://relay.example.org", "", "20/s"),
        ("smtp://127.0.0.1:1025", "", "none"),
        ("smtp://localhost", "", "none"),
        ("smtp://[::1]:25", "", "none"),
        ("smtp://localhost.example.org", "", "20/s"),
        ("smtp://relay.example.org", "none", "none"),
        ("smtp://127.0.0.1:1025", "5/min", "5/min"),
    ],
)
def test_a_real_relay_is_not_flooded_unless_somebody_says_so(url: str, rate: str, in_force: str) -> None:
    given = settings.load({"CORRANTO_SMTP_URL": url, "CORRANTO_RELAY_RATE": rate})
    assert given.rate == in_force
    assert given.is_loopback_relay == ("localhost.example" not in url and "relay" not in url)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://news.example.org/", "https://news.example.org"),
        ("https://news.example.org/letters/", "https://news.example.org/letters"),
        ("http://localhost:8025", "http://localhost:8025"),
        ("http://[::1]:8025/", "http://[::1]:8025"),
    ],
)
def test_a_link_in_a_mail_never_has_two_slashes_and_may_be_clear_text_on_this_machine(url: str, kept: str) -> None:
    given = settings.load({"CORRANTO_BASE_URL": url})
    assert given.base_url == kept


@pytest.mark.parametrize("url", ["http://news.example.org", "http://localhost.example.org", "http://127.0.0.2.example"])
def test_readers_are_never_sent_to_a_page_in_clear_text(url: str) -> None:
    with refuses(SettingsError, "must be https"):
        settings.load({"CORRANTO_BASE_URL": url})


def test_who_acted_is_the_name_given_or_this_user() -> None:
    assert settings.load({"CORRANTO_ACTOR": "ops@example.org"}).who == "ops@example.org"
    assert "@" in settings.load({}).who


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("secret_keys", "a-password"),
        ("database_url", "mysql://db.example.org/x?password=a-password"),
        ("broker_url", "amqp://broker.example.org?password=a-password"),
        ("smtp_url", "smtp://mail.example.org?password=a-password"),
    ],
)
def test_a_wrong_value_that_may_hold_a_secret_is_never_repeated(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load({f"CORRANTO_{name.upper()}": value})
    assert "a-password" not in word(caught.value) + str(caught.value) + repr(caught.value.problems)


@pytest.mark.parametrize("octets", [b"\xff", b"actor = '\xe4'", "actor = 'ä'".encode("utf-16")])
def test_a_settings_file_that_is_not_utf8_is_called_so(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "own.toml").write_bytes(octets)
    with refuses(SettingsError, match="own.toml: is not UTF-8"):
        settings.load({"CORRANTO_CONFIG": str(tmp_path / "own.toml")})


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_state_directory_is_not_the_working_directory(value: str) -> None:
    with refuses(SettingsError, match="CORRANTO_STATE_DIR: must be the path of a folder"):
        settings.load({"CORRANTO_STATE_DIR": value})


def test_wrong_types_in_a_file_are_told_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("state_dir = 5\nactor = 7\nsecret_keys = 3\nhold_s = 'x'\n")
    with refuses(SettingsError, match="folder, in quotes") as caught:
        settings.load({"CORRANTO_CONFIG": str(tmp_path / "own.toml")})
    said = word(caught.value)
    assert len(caught.value.problems) == 4
    for theirs in ("valid", "class", "Input", "pathlib", "Value error"):
        assert theirs not in said
