"""How hard a relay in trouble is tried: pauses that grow and end, fewer connections for a while, never none."""

import random

import pytest

from worker.transport.door import OpeningError, Reason
from worker.transport.health import MAX_BARREN, UNCAP_AFTER_S, Pauses, RelayHealth
from worker.transport.next_hop import Relay
from worker.transport.replies import Phase
from worker.transport.waiting import MAX_STRIKES


class _Steady(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def health_of(connections: int = 10) -> RelayHealth:
    return RelayHealth(Relay("127.0.0.1", 25, connections=connections), Pauses(), _Steady())


AWAY = OpeningError(Phase.CONNECT, "it is away", 421, reason=Reason.REFUSED)
BROKEN = OpeningError(Phase.MAIL, "broken")


def refuse(health: RelayHealth, now: float, working: int = 0, connecting: int = 0) -> None:
    health.note_refused_connection(AWAY, working=working, connecting=connecting, now=now)


def test_a_relay_that_stays_away_is_asked_after_pauses_that_double_up_to_five_minutes():
    # Given
    health, now, pauses = health_of(), 100.0, []

    # When each try fails at the very moment it is due
    for _ in range(11):
        refuse(health, now)
        assert health.fault is not None
        pauses.append(health.fault.retry_at - now)
        now = health.fault.retry_at

    # Then
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300])
    assert health.fault.since == 100.0, "the trouble is as old as its first failure"


def test_a_relay_that_answers_again_gets_all_lanes_and_the_next_trouble_begins_with_the_first_pause():
    # Given
    health = health_of()
    for now in (0.0, 1.0, 3.0):
        refuse(health, now)
    assert not health.is_proven
    assert not health.may_open(1)

    # When
    assert health.note_answer()

    # Then
    assert health.fault is None
    assert health.limit(3.0) == 10
    assert not health.note_answer(), "only the first answer ends a trouble"
    refuse(health, 50.0)
    assert health.fault.retry_at == pytest.approx(51.0)
    assert health.fault.since == 50.0


def test_a_fresh_trouble_rests_until_its_time_and_not_a_moment_longer():
    health = health_of()
    assert not health.is_resting(0.0)
    refuse(health, 10.0)
    assert health.is_resting(10.0)
    assert health.is_resting(10.99)
    assert not health.is_resting(11.0)


def test_a_relay_that_allows_fewer_connections_is_asked_for_all_of_them_again_after_a_minute():
    # Given four work when the fifth is refused
    health = health_of()
    refuse(health, 10.0, working=4)

    # Then
    assert health.fault is None
    assert health.limit(10.0) == 4
    assert health.limit(10.0 + UNCAP_AFTER_S - 1) == 4
    assert health.limit(10.0 + UNCAP_AFTER_S) == 10


def test_a_refused_connection_is_no_trouble_while_another_is_on_its_way():
    health = health_of()
    refuse(health, 10.0, connecting=1)
    assert health.fault is None
    refuse(health, 10.0)
    assert health.fault is not None
    assert (health.fault.relay, health.fault.code, health.fault.phase) == ("127.0.0.1:25", 421, Phase.CONNECT)


def test_one_poisonous_mail_alone_never_looks_like_trouble_with_the_relay():
    # Given as many broken connections as one mail can cause
    health = health_of()
    for _ in range(MAX_STRIKES):
        health.note_barren(BROKEN, 0.0)
    assert health.fault is None

    # When a mail is judged, the count begins anew
    health.note_answer()
    for _ in range(MAX_BARREN - 1):
        health.note_barren(BROKEN, 0.0)
    assert health.fault is None
    health.note_barren(BROKEN, 0.0)

    # Then
    assert health.fault is not None


def test_a_connection_alone_does_not_clear_a_relay_that_breaks_each_of_them():
    health = health_of()
    for _ in range(MAX_BARREN):
        health.note_barren(BROKEN, 0.0)
    health.note_connected(health.setbacks)
    assert health.fault is not None
    health.note_answer()
    assert health.fault is None


def test_a_relay_that_was_away_is_clear_as_soon_as_it_opens_a_session():
    health = health_of()
    refuse(health, 0.0)
    health.note_connected(health.setbacks)
    assert health.fault is None
    assert not health.is_proven, "but one lane is enough until a mail was judged"


def test_lanes_that_die_are_replaced_one_at_a_time_after_pauses_that_double():
    # Given ten lanes, of which one after the other dies as soon as it may begin
    health, now, pauses = health_of(), 100.0, []

    # When
    for _ in range(8):
        health.note_death(9, now)
        assert health.limit(now) == 10, "one more than are left"
        assert not health.may_begin(now)
        pauses.append(health.restart_at - now)
        now = health.restart_at
        assert health.may_begin(now)

    # Then
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128])
    assert health.fault is None


def test_after_many_deaths_the_lanes_come_back_and_a_later_death_costs_the_first_pause_again():
    # Given all ten died
    health = health_of()
    for left in range(9, -1, -1):
        health.note_death(left, 0.0)
    assert health.limit(0.0) == 1

    # When a minute passes without another
    quiet = health.restart_at + UNCAP_AFTER_S

    # Then
    assert health.limit(quiet - 1) == 1
    assert health.limit(quiet) == 10
    health.note_death(9, quiet)
    assert health.restart_at == pytest.approx(quiet + 1)


def test_answers_on_other_lanes_do_not_hasten_the_replacement_of_a_dead_one():
    health = health_of()
    health.note_death(3, 0.0)
    health.note_answer()
    assert not health.may_begin(0.5)
    health.note_death(3, 1.0)
    assert health.restart_at == pytest.approx(3.0)


def test_connections_are_opened_one_beside_the_other_only_as_long_as_each_succeeds():
    # Given one that stands
    health = health_of()
    health.note_answer()
    assert health.may_open(0)
    assert not health.may_open(1)
    health.note_connected(health.setbacks)
    assert health.may_open(3)

    # When one is refused while another one, begun before, succeeds
    before = health.setbacks
    refuse(health, 0.0, working=2, connecting=1)
    health.note_connected(before)

    # Then
    assert not health.may_open(1)
    health.note_connected(health.setbacks)
    assert health.may_open(3)


def test_after_a_doubt_one_connection_at_a_time_shares_its_fate_until_a_mail_is_taken():
    # Given
    health = health_of(connections=4)
    assert not health.note_taken()

    # When
    health.note_doubt()

    # Then
    assert health.limit(0.0) == health.limit(1e6) == 1
    assert health.note_taken()
    assert health.limit(0.0) == 4
    assert not health.note_taken()


def test_a_relay_that_takes_nothing_of_ours_rests_for_as_long_as_it_is_told():
    # Given
    health = health_of()

    # When
    health.note_refused_mails("it takes nothing", Phase.MAIL, 554, 900.0, now=50.0)

    # Then
    fault = health.fault
    assert fault is not None
    assert (fault.cause, fault.phase, fault.code, fault.reason) == ("it takes nothing", Phase.MAIL, 554, Reason.REFUSED)
    assert (fault.since, fault.retry_at) == (50.0, 950.0)
    assert health.is_resting(949.9)
    assert not health.is_resting(950.0)


def test_a_relay_that_refuses_again_is_asked_for_less_twice_as_long_up_to_sixteen_times():
    # Given
    health, now = health_of(connections=10), 100.0

    # When a further connection is refused as soon as all were asked for again
    for times in (1, 2, 4, 8, 16, 16):
        refuse(health, now, working=2, connecting=1)

        # Then
        assert not health.may_begin(now + 0.9)
        assert health.may_begin(now + 1.0)
        until = now + times * UNCAP_AFTER_S
        assert health.limit(until - 0.1) == 3
        assert health.limit(until) == 10
        now = until + 5.0

    # When all stood meanwhile
    health.note_all_open()
    refuse(health, now, working=9)

    # Then it is the first refusal
    assert health.limit(now + UNCAP_AFTER_S - 0.1) == 9
    assert health.limit(now + UNCAP_AFTER_S) == 10


def test_refusals_of_connections_that_were_on_their_way_together_are_one():
    health = health_of(connections=10)
    for now, working in ((0.0, 3), (0.5, 2), (1.0, 2)):
        refuse(health, now, working=working)
    assert health.limit(1.0 + UNCAP_AFTER_S - 0.1) == 2
    assert health.limit(1.0 + UNCAP_AFTER_S) == 10
