"""Rate leases: one row per relay, granted under its lock by the database's clock. On both databases."""

import threading

from worker.dispatch.rates import RateGate
from worker.storage import rates
from worker.storage.engine import Database
from worker.storage.rates import Buckets

RELAY = "relay.example.org:25"


def test_what_is_decided_is_kept_for_the_next(database: Database) -> None:
    # Given
    seen: list[tuple[float, Buckets, float]] = []

    def decide(next_slot_at: float, buckets: Buckets, now: float) -> tuple[float, Buckets, str]:
        seen.append((next_slot_at, buckets, now))
        return now + 1, ((int(now), 3), (int(now) + 1, 0)), "granted"

    # When
    for _ in range(2):
        with database.write() as conn:
            assert rates.lease_slots(conn, RELAY, decide) == "granted"

    # Then
    assert seen[0][:2] == (0.0, ())
    assert seen[1][0] == seen[0][2] + 1
    assert seen[1][1] == ((int(seen[0][2]), 3), (int(seen[0][2]) + 1, 0))
    assert seen[1][2] >= seen[0][2]


def test_each_relay_has_its_own_windows(database: Database) -> None:
    def decide(next_slot_at: float, _: Buckets, now: float) -> tuple[float, Buckets, float]:
        return now + 60, (), next_slot_at

    with database.write() as conn:
        assert rates.lease_slots(conn, RELAY, decide) == 0
        assert rates.lease_slots(conn, "other.example.org:25", decide) == 0
        assert rates.lease_slots(conn, RELAY, decide) > 0


def test_workers_that_begin_at_once_share_one_window(database: Database) -> None:
    # Given: four processes, none of which has asked before
    gates = [RateGate(database, RELAY, "20/s, 30/min") for _ in range(4)]
    together = threading.Barrier(4)
    granted: list[int] = []

    def ask(gate: RateGate) -> None:
        together.wait(20)
        granted.append(gate.reserve(400)[0])

    # When
    threads = [threading.Thread(target=ask, args=(gate,)) for gate in gates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    # Then: the slots of the next second, and not four times as many
    assert len(granted) == 4
    assert 1 <= sum(granted) <= 30


def test_a_gate_that_was_refused_knows_how_long(database: Database) -> None:
    gate = RateGate(database, RELAY, "5/h")
    size, wait_s = gate.reserve(400)
    assert size >= 1
    assert wait_s == 0.0
    for _ in range(5):
        size, wait_s = gate.reserve(400)
    assert size == 0
    assert wait_s > 0
