"""Small forms, read with a bound on size and time: what a reader's button or a mail provider posts.

Both encodings of RFC 8058 3.2 and whatever else arrives: a body is evidence of who pressed, never a condition for
leaving. Everything here is hostile until it is one of the few actions we know.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from worker.domain.subscription import Scope

MAX_BODY_OCTETS = 16_384
"""A one-click body is 26 octets, or some 200 as multipart; providers may add a field."""

MAX_DROPPED_OCTETS = 16 * 1024 * 1024
"""A body that is too large is read on into nothing: an answer given before would be lost with the closed connection."""

MAX_FIELDS = 20  # a one-click body has one; a hostile one ends here instead of being parsed
BODY_DEADLINE_S = 10.0
"""A body that trickles in holds a connection, and nothing else, for this long."""

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells each broken body: anybody could fill the disk

_ONE_CLICK = re.compile(r"list-unsubscribe[\"'=:\s]{1,20}one-click", re.ASCII | re.IGNORECASE)


class FormAction(Enum):
    """What a posted form asks for."""

    ONE_CLICK = "one-click"
    """The mail program's own button: end this subscription, answer in one line (RFC 8058 3.1)."""
    BARE = "bare"
    """No button we know: no body, another one, or one that cannot be read. A whole link says enough to leave."""
    ONE = Scope.ONE.value
    """A page's button about one publication."""
    ALL = Scope.ALL.value
    """A page's button about all of them."""

    @property
    def is_a_page(self) -> bool:
        """Whether a person pressed it on a page of ours, and waits for the next one."""
        return self in (FormAction.ONE, FormAction.ALL)


@dataclass(frozen=True)
class Form:
    """A posted body: what it asks for, and the HTTP status of what is wrong with it, None when it is in order."""

    action: FormAction
    trouble: int | None = None


async def read_form(request: Request) -> Form:
    """What a body asks for; never raises, and never looks at the query string."""
    body, trouble = await _read_body(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            fields = await _multipart(request, body)
        elif kind in ("application/x-www-form-urlencoded", ""):
            fields = dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=MAX_FIELDS))
        else:
            fields = {}
    except (MultiPartException, ValueError, KeyError):
        fields, trouble = {}, trouble or 400
    # Exactly so by the RFC; another case of letters, or the field in another kind of body, is still that action.
    if _ONE_CLICK.search(body.decode("utf-8", "replace")) or _is_one_click(fields):
        return Form(FormAction.ONE_CLICK, trouble)
    scope = fields.get("scope")
    if trouble is not None or scope not in tuple(Scope):
        return Form(FormAction.BARE, trouble)
    return Form(FormAction(scope))


async def read_press(request: Request) -> FormAction:
    """The page's button behind a form. Raises HTTPException 400, 408 or 413 for anything else: a machine's, say."""
    form = await read_form(request)
    if not form.action.is_a_page:
        raise HTTPException(form.trouble or 400, headers={"Connection": "close"})
    return form.action


def _is_one_click(fields: dict[str, str]) -> bool:
    return any(
        name.strip().lower() == "list-unsubscribe" and value.strip().lower() == "one-click"
        for name, value in fields.items()
    )


async def _read_body(request: Request) -> tuple[bytes, int | None]:
    """The first MAX_BODY_OCTETS, and the status that says why they are not a whole body."""
    body, size = b"", 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in request.stream():
                size += len(chunk)
                body += chunk[: MAX_BODY_OCTETS - len(body)]
                if size > MAX_DROPPED_OCTETS:
                    break
    except TimeoutError:
        return body, 408
    except ClientDisconnect:
        return body, 400
    return body, 413 if size > MAX_BODY_OCTETS else None


async def _multipart(request: Request, body: bytes) -> dict[str, str]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    form = await MultiPartParser(request.headers, whole(), max_files=0, max_fields=MAX_FIELDS).parse()
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}
