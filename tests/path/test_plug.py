"""The plug is pulled: what is said at the end is counted, and every way of being wrong would show."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from worker.demo.plug import compare
from worker.domain.delivery import DeliveryState, SkipReason
from worker.operations.deliveries import DeliveryRow
from worker.places import HOME

SMALL = (
    "import sys; from pathlib import Path; from worker.demo import plug; plug.READERS = 1400; sys.exit(plug.run({}))"
)


def row(n: int, state: str, reason: str | None = None) -> DeliveryRow:
    return DeliveryRow(n, f"r{n}@example.org", f"Reader {n}", state, reason, None, None, None, 1, None, None, "")


def test_each_reader_is_held_against_the_mails_that_are_there() -> None:
    rows = [
        row(1, DeliveryState.ACCEPTED),
        row(2, DeliveryState.IN_DOUBT, "worker_lost"),
        row(3, DeliveryState.IN_DOUBT, "worker_lost"),
        row(4, DeliveryState.SKIPPED, SkipReason.OPTED_OUT),
    ]
    found = compare(Counter({"r1@example.org": 1, "r2@example.org": 1}), rows)
    assert found.adds_up
    assert (found.once, len(found.arrived), len(found.missing), len(found.left)) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("copies", "state", "reason"),
    [
        ({}, DeliveryState.ACCEPTED, None),
        ({}, DeliveryState.WAITING, None),
        ({"r1@example.org": 1}, DeliveryState.DEFERRED, None),
        ({"r1@example.org": 2}, DeliveryState.ACCEPTED, None),
        ({"r1@example.org": 2}, DeliveryState.IN_DOUBT, "worker_lost"),
        ({"r1@example.org": 1}, DeliveryState.SKIPPED, SkipReason.OPTED_OUT),
        ({"r1@example.org": 1, "other@example.org": 1}, DeliveryState.ACCEPTED, None),
    ],
)
def test_whatever_is_wrong_does_not_add_up(copies: dict[str, int], state: str, reason: str | None) -> None:
    assert not compare(Counter(copies), [row(1, state, reason)]).adds_up


def test_a_killed_worker_costs_nobody_a_mail_and_the_sum_is_told(tmp_path: Path) -> None:
    place = f"Path({str(tmp_path / 'demo')!r}), None"
    done = subprocess.run(
        [sys.executable, "-c", SMALL.format(place)], capture_output=True, text=True, cwd=HOME, check=False, timeout=120
    )
    said = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost · 0 twice ·" in said
    assert "· 1 left out: opted out at " in said
    assert "adds up ✓" in said
    assert "books add up" in said
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_a_play_that_is_stopped_is_no_proof(tmp_path: Path) -> None:
    # Given: it has begun
    place = f"Path({str(tmp_path / 'demo')!r}), None"
    command = [sys.executable, "-u", "-c", SMALL.format(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HOME, start_new_session=True) as playing:
        assert playing.stdout is not None
        for line in playing.stdout:
            if "begin to leave" in line:
                break

        # When
        os.killpg(playing.pid, signal.SIGINT)
        said = playing.stdout.read()

    # Then
    assert playing.returncode == 130
    assert "nothing was counted" in said


@pytest.mark.parametrize("also", [["--fresh"], ["--exit"], ["--recipients", "5"]])
def test_what_has_no_meaning_beside_it_is_refused_and_not_ignored(also: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "worker.cli", "demo", "--pull-the-plug", *also]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HOME, check=False, timeout=60)
    assert done.returncode == 2
    assert "leave --recipients, --fresh and --exit out" in done.stderr
