"""Which tests watch over which code. Only tests that need no server: a mutant gets seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
    code: tuple[str, ...]
    """Patterns of files."""
    tests: tuple[str, ...]


ROOMS = {
    "tokens": Room(("worker/tokens.py",), ("tests/unit/test_tokens.py", "tests/unit/test_hashes.py")),
    "journal": Room(
        ("worker/journal/*.py",),
        (
            "tests/unit/test_journal.py",
            "tests/path/test_late_journal.py",
            "tests/path/test_lock.py",
            "tests/path/test_restore.py",
        ),
    ),
    "transport": Room(
        ("worker/transport/*.py",),
        (
            "tests/unit/test_replies.py",
            "tests/unit/test_retry.py",
            "tests/unit/test_shaping.py",
            "tests/unit/test_wordings.py",
            "tests/unit/test_refusals.py",
            "tests/unit/test_bounded_replies.py",
            "tests/unit/test_next_hop.py",
            "tests/unit/test_health.py",
            "tests/unit/test_relay_url.py",
            "tests/transport/test_session.py",
            "tests/transport/test_limits.py",
            "tests/transport/test_lessons.py",
            "tests/transport/test_handshake.py",
            "tests/transport/test_mixed_up.py",
            "tests/transport/test_pool.py",
            "tests/transport/test_door.py",
            "tests/transport/test_dial.py",
            "tests/transport/test_dying_lanes.py",
        ),
    ),
    "dispatch": Room(
        ("worker/dispatch/*.py",),
        (
            "tests/unit/test_batches.py",
            "tests/unit/test_build_batch.py",
            "tests/unit/test_judge.py",
            "tests/unit/test_nudger.py",
            "tests/unit/test_verdict.py",
            "tests/path/test_steps.py",
            "tests/path/test_doubt.py",
            "tests/path/test_orders.py",
            "tests/path/test_late_journal.py",
            "tests/path/test_lock.py",
            "tests/path/test_queue.py",
            "tests/path/test_retries.py",
            "tests/path/test_schedule.py",
            "tests/path/test_unbuildable.py",
            "tests/path/test_way_out.py",
            "tests/consent/test_attendance.py",
            "tests/operations/test_progress.py",
            "tests/storage/test_issue_times.py",
            "tests/storage/test_later_tries.py",
            "tests/storage/test_rates.py",
            "tests/storage/test_workers.py",
            # Seconds each, for every survivor, about lines that the others reach too.
            "--deselect=tests/path/test_lock.py::test_a_worker_lives_through_a_restore_and_mails_nobody_twice",
            "--deselect=tests/path/test_lock.py::test_a_worker_on_a_copied_database_does_not_unlock_itself",
            "--deselect=tests/path/test_steps.py::test_a_worker_process_that_cannot_go_on_ends_with_an_exit_code",
            "--deselect=tests/path/test_steps.py::test_no_nudge_is_sent_before_what_it_speaks_of_is_committed",
        ),
    ),
    "ledger": Room(
        ("worker/storage/ledger/*.py",),
        (
            "tests/storage/test_claims.py",
            "tests/storage/test_deliveries.py",
            "tests/storage/test_settlements.py",
            "tests/storage/test_audiences.py",
            "tests/storage/test_issues.py",
            "tests/storage/test_issue_times.py",
            "tests/storage/test_later_tries.py",
            "tests/storage/test_gauges.py",
            "tests/storage/test_evidence.py",
            "tests/storage/test_two_issues.py",
            "tests/operations/test_verify.py",
            "tests/operations/test_report.py",
            "tests/path/test_late_journal.py",
        ),
    ),
    "consent": Room(
        ("worker/consent/optout*.py", "worker/consent/noted.py", "worker/consent/replay.py",
         "worker/consent/attendance.py", "worker/consent/preferences.py", "worker/consent/erasure.py",
         "worker/consent/suppressions.py", "worker/consent/subscribe.py"),
        (
            "tests/consent/test_noted.py",
            "tests/consent/test_optout_log.py",
            "tests/consent/test_preferences.py",
            "tests/consent/test_readers.py",
            "tests/consent/test_suppressions.py",
            "tests/consent/test_attendance.py",
            "tests/consent/test_erasure.py",
            "tests/consent/test_replay.py",
            "tests/storage/test_subscribers.py",
            "tests/web/test_optout.py",
        ),
    ),
}  # fmt: skip
