"""Nudges through the ledger's own database, on both kinds: each taken once, by whoever is idle."""

import subprocess
import sys
import threading
from pathlib import Path

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import QueueJoinTimeout, QueueNotFound
from sqlalchemy import insert

from tests.support.nudged import JOIN_MS, QUEUE, Woken, declare, working
from worker.broker.build import build_broker
from worker.broker.nudges import NudgeBroker, send_nudge
from worker.broker.sealed import MAX_BODY_OCTETS, Sealer
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


def test_weeks_of_unheard_nudges_do_not_grow_without_bound(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nudges, "MOST_WAITING", 5)
    broker = broker_on(database)

    for number in range(12):
        send_nudge(broker, "send", QUEUE, issue_id=number)

    with database.read() as conn:
        assert nudges.count(conn, QUEUE) == 5


def test_an_idle_look_writes_nothing(sqlite_database: Database) -> None:
    broker = broker_on(sqlite_database)
    declare(broker, Woken())
    consumer = broker.consume(QUEUE, prefetch=2, timeout=1)

    with sqlite_database.write():
        # The file's one writer is us: a look that wrote would wait for the end of this block, and give up.
        looked = threading.Thread(target=lambda: next(consumer))
        looked.start()
        looked.join(JOIN_MS / 1000)

        assert not looked.is_alive()


def test_a_database_that_is_gone_is_said_and_not_thrown_at_the_worker(tmp_path: Path) -> None:
    lost = open_database(f"sqlite:///{tmp_path}/never/made.sqlite3")
    broker = broker_on(lost)
    declare(broker, Woken())

    with pytest.raises(UnreachableError):
        send_nudge(broker, "send", QUEUE, issue_id=1)
    broker._closed.set()
    assert next(broker.consume(QUEUE, prefetch=2, timeout=1)) is None
