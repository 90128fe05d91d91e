"""What a process that holds keys and addresses keeps from others on its machine."""

import os
import resource


def confine() -> None:
    """New files are their owner's alone, and a crash leaves no copy of memory with keys and addresses in it."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
