"""Sentences about issues: queueing, proofs, orders, what stands in the way of a mail. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime

from worker.quantities import spell_span

_BEFORE = "nothing has left yet, take it back with: corranto issue undo {slug}"
_INSTEAD = {
    "draft": "nothing of it leaves until its file is queued again",
    "holding": _BEFORE,
    "scheduled": _BEFORE,
    "held_late": _BEFORE,
    "sending": "stop it with: corranto issue pause {slug}",
    "paused": "go on with: corranto issue resume {slug}, or end it with: corranto issue cancel {slug}",
    "finished": "it has been sent, see: corranto issue report {slug}",
    "cancelled": "it was stopped for good, see: corranto issue report {slug}",
}
"""What an editor may do with an issue in each state, instead of an order that does not fit it."""

_RULES = {
    "undo": "only an issue that has not begun can be undone",
    "pause": "only an issue that is being sent can be paused",
    "resume": "only a paused issue can be resumed",
    "cancel": "there is nothing to cancel",
}


def _wrong_state(slug: str, state: str, order: str) -> str:
    return f"{slug} is {state.replace('_', ' ')}: {_RULES[order]}; {_INSTEAD[state].format(slug=slug)}"


def _already_queued(slug: str, queued_at: datetime, state: str) -> str:
    return (
        f"{slug} was already queued on {queued_at:%Y-%m-%d %H:%M} UTC and is {state};"
        " for another mail give the file another name (its slug)"
    )


def _errors(path: str, errors: int) -> str:
    return (
        f"{path} has {errors} error{'s' if errors > 1 else ''} that block queueing; see them with: corranto lint {path}"
    )


def _no_retry(states: Sequence[str], allowed: Sequence[str]) -> str:
    return f"{', '.join(states)} cannot be retried; these can: {', '.join(allowed)}"


def _address(typed: str, why: str) -> str:
    why = why.replace("An email", "an email", 1)
    return f"--to: {typed} is not an address ({why}); write --to you@example.org, or several with commas"


_START = "start one with: corranto worker"

SENTENCES: dict[str, str | Callable[..., str]] = {
    "issue.none_yet": "no issue was queued yet; queue one with: corranto queue FILE",
    "issue.unknown": lambda ref, near: (
        f"there is no issue {ref}" + (f"; did you mean {' or '.join(near)}?" if near else "; see: corranto issue list")
    ),
    "issue_file.publication": "{path} line {line}: {cause}",
    "issue_file.errors": _errors,
    "issue.already_queued": _already_queued,
    "issue.queued_meanwhile": "{slug} was queued by somebody else just now; see: corranto issue show {slug}",
    "issue.for_nobody": (
        "nobody would get {slug}: {publication} has {unconfirmed} unconfirmed, {opted_out} opted out, {suppressed}"
        " suppressed and no other reader;"
        " add some with: corranto subscriber import FILE -p {publication} --consent WHERE-AND-WHEN"
    ),
    "publication.no_bounce_address": (
        "{slug} has no bounce address, so mail that comes back would be lost:"
        " corranto publication edit {slug} --bounce-address bounces@your-domain"
    ),
    "issue.no_way_out": "no mail may leave while readers cannot: {cause}; start `corranto web`, check base_url",
    "issue.wrong_state": _wrong_state,
    "issue.never_sent": "{slug} is {state}: retry is for an issue that was sent",
    "delivery.no_retry": _no_retry,
    "queue.waits_for_broker": "{cause}: the issue waits until the broker answers, nothing is lost",
    "queue.waits_for_relay": "{cause}: the issue waits until the relay takes mail, nothing is lost",
    "queue.no_worker": "no worker is running, so nothing leaves yet: start one with corranto worker",
    "proof.address": _address,
    "proof.how_many": "--to takes 1 to {most} different addresses separated by commas, not {addresses}",
    "proof.unbuildable": "the proof cannot be built: {why}",
    "proof.unsent": "no proof was sent: {cause}; corranto doctor tells more",
    "proof.in_doubt": "the line to the relay {relay} broke after the proof was handed over: {said}",
    "proof.refused": "the relay {relay} refused the proof: {said}",
    "wait.no_worker": f"no worker is running; {_START}",
    "wait.workers_stop": f"all workers are stopping; {_START}",
    "wait.later_tries": "only later tries are left",
    "wait.rate_limit": "rate limit {limits}",
    "wait.relay": "{cause}",
    "wait.own_fault": "a fault of our own: see the workers' log",
    "wait.again_in": lambda cause, seconds: f"{cause}; looks again in {seconds:.0f} s",
    "wait.until": lambda cause, at: f"{cause} (until {at:%H:%M:%S} UTC)",
    "wait.unknown": "no cause found; try: doctor",
    "status.broker_silent": "{cause}; nothing is lost, work goes on when it answers",
    "status.nobody_sends": "an issue is being sent and no worker runs: start one with corranto worker",
    "status.nobody_will_send": "an issue is queued and no worker runs: start one with corranto worker",
    "status.silent": lambda label, seconds: f"{label} has not been heard for {spell_span(seconds)}",
    "status.worker_note": "{label}: {note}",
    "status.does_not_add_up": "{slug} does not add up: run corranto verify",
}
