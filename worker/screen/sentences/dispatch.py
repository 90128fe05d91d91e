"""Sentences about issues: queueing, orders, what stands in the way of a mail. Pure."""

from collections.abc import Callable

SENTENCES: dict[str, str | Callable[..., str]] = {
    "issue.none_yet": "no issue was queued yet; queue one with: corranto queue FILE",
    "issue.unknown": lambda ref, near: (
        f"there is no issue {ref}" + (f"; did you mean {' or '.join(near)}?" if near else "; see: corranto issue list")
    ),
}
