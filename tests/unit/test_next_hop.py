"""The relay as a value: its name in rows and logs, and whether a mail handed to it could leave the machine."""

import pytest

from worker.transport.next_hop import Relay, Timeouts


@pytest.mark.parametrize(
    ("host", "key"),
    [("relay.example.org", "relay.example.org:25"), ("192.0.2.1", "192.0.2.1:25"), ("2001:db8::1", "[2001:db8::1]:25")],
)
def test_a_relay_has_one_name_in_rows_logs_and_metrics(host: str, key: str):
    assert Relay(host, 25).key == key


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("relay.localhost", True),
        ("localhost.example.org", False),
        ("notlocalhost", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("relay.example.org", False),
    ],
)
def test_only_this_machine_is_spoken_to_in_clear_by_default(host: str, is_loopback: bool):
    relay = Relay(host, 25)
    assert relay.is_loopback == is_loopback
    assert relay.needs_starttls == (not is_loopback)
    assert relay.uses_tls == (not is_loopback)


def test_tls_from_the_start_needs_no_second_one():
    relay = Relay("relay.example.org", 465, implicit_tls=True)
    assert relay.uses_tls
    assert not relay.needs_starttls


def test_a_tenth_of_the_patience_is_a_tenth_for_every_phase_and_for_moving_the_body():
    # When
    whole, tenth = Timeouts(), Timeouts().scaled(0.1)

    # Then
    names = [name for name in Timeouts.__slots__ if name != "body_bytes_per_s"]
    assert {name: getattr(tenth, name) for name in names} == pytest.approx(
        {name: getattr(whole, name) / 10 for name in names}
    )
    assert tenth.body_bytes_per_s == pytest.approx(whole.body_bytes_per_s * 10)


def test_no_phase_is_given_up_before_the_time_the_standard_asks_for():
    """RFC 5321 4.5.3.2: 5 minutes for a command, 10 for the final reply; greeting and connect are ours to shorten."""
    times = Timeouts()
    assert times.command_s >= 300
    assert times.final_s >= 600
    assert times.body_s >= 180
