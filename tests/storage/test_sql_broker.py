"""Nudges through the ledger's own database, on both kinds: each taken once, by whoever is idle."""

import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import QueueJoinTimeout, QueueNotFound
from sqlalchemy import insert, select

from tests.support.nudged import JOIN_MS, QUEUE, Woken, declare, working
from worker.broker.build import build_broker
from worker.broker.nudges import NudgeBroker, send_nudge
from worker.broker.sealed import MAX_BODY_OCTETS, Sealer, SealError
from worker.errors import UnreachableError
from worker.storage import nudges
from worker.storage.engine import Database, database_now, open_database
from worker.storage.schema import nudge as table

SECRET = b"a secret of the tests"
CHILD = """
import sys, dramatiq
from worker.broker.build import build_broker
from worker.storage.engine import open_database
database = open_database(sys.argv[1])
broker = build_broker("sql", database=lambda: database, secret=b"a secret of the tests", namespace="corranto")
dramatiq.actor(actor_name="send", queue_name="dispatch", broker=broker)(lambda issue_id: print(issue_id, flush=True))
worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=100)
worker.start()
print("ready", flush=True)
sys.stdin.read()
worker.stop()
"""


def broker_on(database: Database) -> NudgeBroker:
    return build_broker("sql", database=lambda: database, secret=SECRET, namespace="corranto")


def put_raw(database: Database, body: bytes, queue: str = QUEUE) -> None:
    with database.write() as conn:
        conn.execute(insert(table).values(queue=queue, body=body, created_at=database_now()))


def test_nudges_arrive_in_order_and_leave_nothing_behind(database: Database) -> None:
    broker, woken = broker_on(database), Woken()
    for number in range(20):
        send_nudge(broker, "send", QUEUE, issue_id=number)

    with working(broker, woken, threads=1):
        broker.join(QUEUE, timeout=JOIN_MS)

    assert woken.ids == list(range(20))
    with database.read() as conn:
        assert nudges.count(conn, QUEUE) == 0


def test_a_nudge_for_an_idle_worker_arrives(database: Database) -> None:
    broker, woken = broker_on(database), Woken()

    with working(broker, woken):
        send_nudge(broker, "send", QUEUE, issue_id=7)
        assert woken.wait_for(1) == [7]


def test_three_processes_share_the_queue_and_nobody_takes_what_another_took(database_url: str) -> None:
    database = open_database(database_url)
    broker, woken = broker_on(database), Woken()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"

    with working(broker, woken):
        for number in range(60):
            send_nudge(broker, "send", QUEUE, issue_id=number)
        broker.join(QUEUE, timeout=JOIN_MS)
    elsewhere = [int(line) for child in children for line in child.communicate(timeout=30)[0].split()]
    database.close()

    assert sorted(woken.ids + elsewhere) == list(range(60))
    assert all(child.returncode == 0 for child in children)


def test_what_we_did_not_seal_is_dropped_and_its_neighbours_arrive(database: Database) -> None:
    broker, woken = broker_on(database), Woken()
    genuine = Message(QUEUE, "send", (), {"issue_id": 1}, {})
    seal = Sealer(SECRET, "corranto").seal
    forged = [
        b"",
        b"{not json",
        b"\x80\x04pickle",
        b"x" * (MAX_BODY_OCTETS + 1),
        b"[" * 2000,
        Sealer(b"another secret", "corranto").seal(genuine),
        Sealer(SECRET, "another installation").seal(genuine),
        seal(genuine)[:-1] + b"!",
        seal(Message(QUEUE, "no such actor", (), {"issue_id": 1}, {})),
        seal(Message("other queue", "send", (), {"issue_id": 1}, {})),
    ]
    send_nudge(broker, "send", QUEUE, issue_id=100)
    for number, body in enumerate(forged):
        put_raw(database, body)
        send_nudge(broker, "send", QUEUE, issue_id=number)

    with working(broker, woken, threads=1):
        broker.join(QUEUE, timeout=JOIN_MS)

    assert woken.ids == [100, *range(len(forged))]
    assert broker.dropped == len(forged)


def test_arguments_of_a_wrong_kind_cost_one_nudge_and_not_the_worker(database: Database) -> None:
    broker, woken = broker_on(database), Woken()

    send_nudge(broker, "send", QUEUE, no_such_argument=1)
    send_nudge(broker, "send", QUEUE, issue_id=2)
    with working(broker, woken, threads=1):
        broker.join(QUEUE, timeout=JOIN_MS)

    assert woken.ids == [2]


def test_a_full_worker_leaves_the_rest_to_others(database: Database) -> None:
    broker, go, begun = broker_on(database), threading.Event(), Woken()

    def hold(issue_id: int) -> None:
        begun.add(issue_id)
        go.wait(JOIN_MS / 1000)

    dramatiq.actor(actor_name="send", queue_name=QUEUE, broker=broker)(hold)
    for number in range(6):
        send_nudge(broker, "send", QUEUE, issue_id=number)

    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    begun.wait_for(2)

    with database.read() as conn:
        assert nudges.count(conn, QUEUE) == 4
    go.set()
    broker.join(QUEUE, timeout=JOIN_MS)
    worker.stop()
    assert sorted(begun.ids) == list(range(6))


def test_fetched_but_not_begun_goes_back_for_another_process(database: Database) -> None:
    broker = broker_on(database)
    declare(broker, Woken())
    send_nudge(broker, "send", QUEUE, issue_id=3)
    consumer = broker.consume(QUEUE, prefetch=2, timeout=100)
    taken = next(consumer)
    assert taken is not None

    consumer.requeue([taken])

    again = next(broker.consume(QUEUE, prefetch=2, timeout=100))
    assert again is not None
    assert again.kwargs == {"issue_id": 3}


def test_flushing_forgets_what_waits(database: Database) -> None:
    broker = broker_on(database)
    declare(broker, Woken())
    send_nudge(broker, "send", QUEUE, issue_id=3)

    broker.flush_all()

    broker.join(QUEUE, timeout=JOIN_MS)


def test_join_gives_up_when_nobody_works(database: Database) -> None:
    broker = broker_on(database)
    send_nudge(broker, "send", QUEUE, issue_id=3)

    with pytest.raises(QueueJoinTimeout):
        broker.join(QUEUE, timeout=50)


def test_closing_ends_a_consumers_wait(database: Database) -> None:
    broker = broker_on(database)
    declare(broker, Woken())
    consumer = broker.consume(QUEUE, prefetch=2, timeout=600_000)
    answers: list[object] = []
    waiting = threading.Thread(target=lambda: answers.append(next(consumer)), daemon=True)
    waiting.start()

    broker.close()

    waiting.join(JOIN_MS / 1000)
    assert answers == [None]


def test_only_ids_travel_and_only_now(database: Database) -> None:
    broker = broker_on(database)

    with pytest.raises(ValueError, match="delay"):
        broker.enqueue(Message(QUEUE, "send", (), {}, {}), delay=10)
    with pytest.raises(ValueError, match="ids"):
        broker.enqueue(Message(QUEUE, "send", (1,), {}, {}))
    with pytest.raises(ValueError, match="ids only"):
        send_nudge(broker, "send", QUEUE, text="x" * MAX_BODY_OCTETS)
    with pytest.raises(QueueNotFound):
        broker.consume("never declared")


def test_weeks_of_unheard_nudges_do_not_grow_without_bound_and_the_newest_are_kept(database: Database) -> None:
    broker, woken = broker_on(database), Woken()
    declare(broker, woken)
    with database.write() as conn:
        rows = [{"queue": QUEUE, "body": b"old"}] * (nudges.MOST_WAITING + 7)
        conn.execute(insert(table).values(created_at=database_now()), rows)

    for number in range(12):
        send_nudge(broker, "send", QUEUE, issue_id=number)

    with database.read() as conn:
        assert nudges.count(conn, QUEUE) == nudges.MOST_WAITING
        newest = conn.execute(select(table.c.body).order_by(table.c.id.desc()).limit(13)).scalars().all()
    unseal = Sealer(SECRET, "corranto").unseal
    assert [unseal(bytes(body)).kwargs["issue_id"] for body in newest[:12]] == list(range(11, -1, -1))
    assert bytes(newest[12]) == b"old"


def test_an_idle_poll_writes_nothing(sqlite_database: Database) -> None:
    broker = broker_on(sqlite_database)
    declare(broker, Woken())
    consumer = broker.consume(QUEUE, prefetch=2, timeout=1)

    with sqlite_database.write():
        # The file's one writer is us: a poll that wrote would wait for the end of this block, and give up.
        polled = threading.Thread(target=lambda: next(consumer))
        polled.start()
        polled.join(JOIN_MS / 1000)

        assert not polled.is_alive()


def test_a_database_that_is_gone_is_said_and_not_thrown_at_the_worker(tmp_path: Path) -> None:
    lost = open_database(f"sqlite:///{tmp_path}/never/made.sqlite3")
    broker = broker_on(lost)
    declare(broker, Woken())

    with pytest.raises(UnreachableError):
        send_nudge(broker, "send", QUEUE, issue_id=1)
    broker.close()
    assert next(broker.consume(QUEUE, prefetch=2, timeout=1)) is None


def test_a_genuine_nudge_under_another_queues_name_wakes_nobody(database: Database) -> None:
    broker, woken = broker_on(database), Woken()
    dramatiq.actor(actor_name="erase", queue_name="other", broker=broker)(lambda issue_id: woken.add(-issue_id))
    put_raw(database, Sealer(SECRET, "corranto").seal(Message("other", "erase", (), {"issue_id": 1}, {})))
    send_nudge(broker, "send", QUEUE, issue_id=2)

    with working(broker, woken, threads=1):
        broker.join(QUEUE, timeout=JOIN_MS)

    assert woken.ids == [2]
    assert broker.dropped == 1


def test_a_sealed_nudge_can_name_no_follow_up_and_no_option(database: Database) -> None:
    sealer = Sealer(SECRET, "corranto")
    sealed = sealer.seal(Message(QUEUE, "send", (), {"issue_id": 1}, {"pipe_target": {"actor_name": "erase"}}))

    unsealed = sealer.unseal(sealed)

    assert unsealed.options == {}
    assert unsealed.args == ()


@pytest.mark.parametrize("length", [0, 31, 32, MAX_BODY_OCTETS + 1])
def test_what_cannot_be_a_nudge_by_its_size_is_refused_before_anything_reads_it(length: int) -> None:
    with pytest.raises(SealError, match="impossible size"):
        Sealer(SECRET, "corranto").unseal(b"x" * length)


def test_a_nudge_of_the_largest_size_is_read_again_and_a_larger_one_is_never_put() -> None:
    sealer = Sealer(SECRET, "corranto")
    spare = MAX_BODY_OCTETS - len(sealer.seal(Message(QUEUE, "send", (), {"text": ""}, {})))
    largest = Message(QUEUE, "send", (), {"text": "x" * spare}, {})
    assert sealer.unseal(sealer.seal(largest)).kwargs == largest.kwargs
    with pytest.raises(ValueError, match="ids only"):
        sealer.seal(Message(QUEUE, "send", (), {"text": "x" * (spare + 1)}, {}))


def test_a_worker_that_is_full_takes_more_as_soon_as_one_is_done(database: Database) -> None:
    broker = broker_on(database)
    declare(broker, Woken())
    for number in range(3):
        send_nudge(broker, "send", QUEUE, issue_id=number)
    consumer = broker.consume(QUEUE, prefetch=4, timeout=1)
    first, second = next(consumer), next(consumer)
    assert first is not None
    assert second is not None
    assert next(consumer) is None, "two threads, two in hand"

    consumer.ack(first)

    third = next(consumer)
    assert third is not None
    assert third.kwargs == {"issue_id": 2}
    consumer.nack(third)
    consumer.nack(second)
    broker.join(QUEUE, timeout=JOIN_MS)


def test_an_entry_of_any_size_is_dropped_without_being_loaded(database: Database) -> None:
    # Given
    large = 20_000_000
    put_raw(database, b"x" * large)

    # When
    tracemalloc.start()
    with database.write() as conn:
        taken = nudges.take(conn, QUEUE)
        left = nudges.count(conn, QUEUE)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    # Then
    assert (taken, left) == (b"", 0)
    assert most < large / 10
