"""What a person reads of an error: the terminal's words, matched where an error is raised."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from worker.errors import CorrantoError
from worker.screen.sentences import word


@contextmanager
def refuses(kind: type[CorrantoError], match: str) -> Iterator[pytest.ExceptionInfo[CorrantoError]]:
    """Like `pytest.raises(kind, match=...)`, over the sentence that the terminal makes of the error."""
    with pytest.raises(kind) as caught:
        yield caught
    said = word(caught.value)
    assert re.search(match, said), f"{match!r} is not in {said!r}"
