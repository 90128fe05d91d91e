"""Small forms, read with a bound on size and time: what a reader's button or a mail provider posts.

Both encodings of RFC 8058 3.2: multipart/form-data and application/x-www-form-urlencoded. Everything here is hostile
until it is one of the few actions we know.
"""

import asyncio
from collections.abc import AsyncGenerator
from enum import Enum
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from worker.domain.subscription import Scope

MAX_BODY_OCTETS = 16_384
"""A one-click body is 26 octets, or some 200 as multipart; providers may add a field."""

MAX_FIELDS = 20  # a one-click body has one; a hostile one ends here instead of being parsed
BODY_DEADLINE_S = 10.0
"""A body that trickles in holds a connection, and nothing else, for this long."""


class FormAction(Enum):
    """What a posted form asks for."""

    ONE_CLICK = "one-click"
    """The mail program's own button: end this subscription, answer in one line (RFC 8058 3.1)."""
    ONE = Scope.ONE.value
    """A page's button about one publication."""
    ALL = Scope.ALL.value
    """A page's button about all of them."""


async def read_action(request: Request) -> FormAction:
    """What a form's body asks for. Raises HTTPException 400, 408 or 413; the query string is never looked at."""
    body = await _read_body(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            fields = await _multipart(request, body)
        elif kind in ("application/x-www-form-urlencoded", ""):
            fields = dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=MAX_FIELDS))
        else:
            fields = {}
    except (MultiPartException, ValueError, KeyError) as error:
        raise HTTPException(400) from error
    one_click, scope = fields.get("List-Unsubscribe"), fields.get("scope")
    # Exactly "One-Click" by the RFC; a line end or another case of letters is still that action.
    if one_click is not None and one_click.strip().lower() == "one-click":
        return FormAction.ONE_CLICK
    if one_click is not None or scope not in tuple(Scope):
        raise HTTPException(400)
    return FormAction(scope)


async def _read_body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_OCTETS:
                    raise HTTPException(413, headers={"Connection": "close"})
    except TimeoutError as error:
        raise HTTPException(408, headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise HTTPException(400) from error
    return body


async def _multipart(request: Request, body: bytes) -> dict[str, str]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    form = await MultiPartParser(request.headers, whole(), max_files=0, max_fields=MAX_FIELDS).parse()
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}
