"""The readers' pages about leaving: one look, one button, the way back, and the mail program's own button.

A signed token in the path is the whole authority: no cookie, no sign-in, no question back (RFC 8058 3.1). Only POST
changes anything; GET and HEAD show. Whoever posts a whole token wants out, whatever else the request holds. A token
that is not ours leads to one page, whatever is wrong with it.
A mail gets forwarded, and its link with it: so a link ends its own publication and takes back its own press, no more.
Invalid tokens are not counted against an address: a check costs microseconds, and providers post for thousands of
readers from a few addresses.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from worker import metrics
from worker.clock import monotonic, utcnow
from worker.compose.template import without_values
from worker.consent import noted, optout
from worker.consent.optout import OptOut, Wish
from worker.consent.preferences import Preferences, may_stop_all, read_preferences
from worker.domain.publication import Publication
from worker.domain.subscription import Channel, Scope, Subscription
from worker.editorial import publications
from worker.editorial.approval import read_proof
from worker.errors import UnreachableError
from worker.log import logger
from worker.settings import Settings
from worker.storage.engine import Database
from worker.tokens import Keyring, Purpose, Token, TokenError
from worker.web.forms import FormAction, read_form, read_press
from worker.web.lanes import LEAVING, run_in
from worker.web.pages import Pages

ACTOR = "reader"
"""In the list of acts: a reader is named by the subscription, never by address."""

NOBODY = "r•••@example.org"
"""Stands for the reader of a proof whose own address is gone."""

_OPENS_PAGES = (Purpose.UNSUBSCRIBE, Purpose.PROOF)
_TAKES_POSTS = (Purpose.UNSUBSCRIBE, Purpose.PROOF, Purpose.PROBE)

AGAIN_S = 0.5  # between two tries while the database is away: each costs a thread up to its connect timeout

_log = logger("web.public")


@dataclass(frozen=True)
class SubscriptionView:
    """One subscription as the templates see it: `action` is where its buttons post to."""

    title: str
    language: str
    contact: str
    promise: str
    masked: str
    action: str
    since: datetime | None = None
    undoable: bool = False


def routes(settings: Settings, database: Database, keyring: Keyring, pages: Pages) -> list[BaseRoute]:
    """/u/{token} and below."""
    leaving = _Leaving(settings, database, keyring, pages)
    return [
        Route("/u/{token}", leaving.show),
        Route("/u/{token}", leaving.post, methods=["POST"]),
        Route("/u/{token}/done", leaving.show),
        Route("/u/{token}/back", leaving.show),
        Route("/u/{token}/undo", leaving.post_undo, methods=["POST"]),
    ]


class _Leaving:
    def __init__(self, settings: Settings, database: Database, keyring: Keyring, pages: Pages) -> None:
        self._settings = settings
        self._database = database
        self._keyring = keyring
        self._pages = pages

    # Looking

    def show(self, request: Request) -> Response:
        """Where the reader stands: the button, or since when they are out and the way back. `/back`: after an undo."""
        try:
            token = self._keyring.read(request.path_params["token"], *_OPENS_PAGES)
        except TokenError:
            return self._damaged()
        if token.purpose is Purpose.PROOF:
            return self._show_proof(token, request, is_done=request.scope["path"].endswith("/done"))
        return self._show(token, welcome_back=request.scope["path"].endswith("/back"))

    def _show(self, token: Token, *, welcome_back: bool) -> Response:
        reader = read_preferences(self._database, token.subscription, token.issue or None)
        if reader is None:
            return self._pages.html("gone.html")
        here = self._view(reader.here, reader.masked, token.issue)
        if reader.here.is_active:
            return self._page("leave.html", here, welcome_back=welcome_back)
        still = [self._view(one, reader.masked, token.issue) for one in reader.still]
        together = [self._view(one, reader.masked, token.issue) for one in reader.ended_together]
        return self._page(
            "done.html",
            here,
            still=still,
            ended_together=together,
            on_its_way=self._late(reader),
            proof=False,
            may_stop_all=reader.may_stop_all,
        )

    def _late(self, reader: Preferences) -> list[str]:
        """Subjects of the copies that the opt-out came too late for."""
        since = reader.here.ended_at
        if since is None:
            return []
        ids = [one.id for one in (reader.here, *reader.ended_together)]
        return [without_values(copy.subject) for copy in optout.copies_on_their_way(self._database, ids, since)]

    def _show_proof(self, token: Token, request: Request, *, is_done: bool) -> Response:
        """The page as who got the proof would see it as a reader; its buttons change nothing."""
        proof = read_proof(self._database, token)
        if proof is None:
            return self._pages.html("no_proof.html", proof=True)
        here = SubscriptionView(
            **_shown_of(proof.publication),
            masked=proof.masked or NOBODY,
            action=f"{self._pages.root}/u/{request.path_params['token']}",
            since=utcnow(),
            undoable=True,
        )
        page = f"{self._pages.root}/proof/{request.path_params['token']}"
        if is_done:
            return self._page(
                "done.html", here, still=[], ended_together=[], on_its_way=[], proof=True, proof_page=page
            )
        return self._page("leave.html", here, welcome_back=False, proof=True, proof_page=page)

    def _damaged(self) -> Response:
        """One page for a mutated, foreign, cut or misused token, so that nothing can be learnt by trying."""
        everything = publications.list_publications(self._database)
        return self._pages.html("damaged.html", 404, publications=everything)

    # Leaving and coming back

    async def post(self, request: Request) -> Response:
        """A button on our page (`scope`), or the mail program's own (RFC 8058), at the very same address."""
        try:
            token = self._keyring.read(request.path_params["token"], *_TAKES_POSTS)
        except TokenError:
            return await run_in(LEAVING, self._damaged)
        form = await read_form(request)
        action = form.action
        if token.purpose is not Purpose.UNSUBSCRIBE:
            return self._answer_unchanged(token, action, request)
        channel = Channel.ONE_CLICK if action is FormAction.ONE_CLICK else Channel.PAGE
        outcome: OptOut | None
        try:
            outcome = await self._leave(token, action, channel)
        except UnreachableError:
            outcome = await self._note(token, action, channel)
        if outcome is None:
            if action.is_a_page:
                return self._pages.html("noted.html")
            return PlainTextResponse("Noted: it is in force as soon as our records answer.\n")
        metrics.unsubscribes.labels(str(channel)).inc(len(outcome.changed))
        _log.info("opted_out", subscription=token.subscription, ended=len(outcome.changed), channel=str(channel))
        if action.is_a_page:
            return self._see(request, "/done")
        return PlainTextResponse(_one_click_words(outcome), headers={"Connection": "close"} if form.trouble else None)

    async def _leave(self, token: Token, action: FormAction, channel: Channel) -> OptOut:
        """Raises UnreachableError."""
        if action is FormAction.ALL and not await run_in(
            LEAVING, may_stop_all, self._database, token.subscription, token.issue or None
        ):
            action = FormAction.ONE  # the page offered no such button; a wish to leave is never refused
        wish = _wish(token, action, channel)
        return await _walk(optout.leave(self._database, wish, self._settings.state_dir, self._settings.optout_fresh_s))

    async def _note(self, token: Token, action: FormAction, channel: Channel) -> OptOut | None:
        """While the database is away: on disk first, then tried again until no copy can leave that was looked at
        before. None when it is noted; raises UnreachableError when that cannot be done either.
        """
        if not await run_in(LEAVING, noted.note, self._settings.state_dir, _wish(token, action, channel)):
            return await self._leave(token, action, channel)
        until = monotonic() + self._settings.optout_fresh_s
        while (left := until - monotonic()) > 0:
            await asyncio.sleep(min(AGAIN_S, left))
            with suppress(UnreachableError):
                outcome = await self._leave(token, action, channel)
                # Taken out at once, or it would end again what its reader takes back meanwhile.
                await run_in(LEAVING, noted.fulfil, self._database, self._settings.state_dir)
                return outcome
        _log.warning("a wish to leave is noted until the database answers", subscription=token.subscription)
        return None

    async def post_undo(self, request: Request) -> Response:
        """Undo, from the page after leaving."""
        try:
            token = self._keyring.read(request.path_params["token"], *_OPENS_PAGES)
        except TokenError:
            return await run_in(LEAVING, self._damaged)
        action = await read_press(request)
        if token.purpose is Purpose.PROOF:
            return self._see(request, "/back")
        wish = _wish(token, action, Channel.PAGE)
        restored = await run_in(LEAVING, optout.undo, self._database, wish, self._settings.state_dir)
        _log.info("opt_out_undone", subscription=token.subscription, restored=len(restored))
        return self._see(request, "/back")

    def _answer_unchanged(self, token: Token, action: FormAction, request: Request) -> Response:
        """A proof's or a probe's token: the same answers as the real thing, without its effect."""
        if not action.is_a_page:
            words = "a proof" if token.purpose is Purpose.PROOF else "a probe"
            return PlainTextResponse(f"This is {words}: nothing was changed.\n")
        if token.purpose is Purpose.PROBE:
            return self._pages.error(400)
        return self._see(request, "/done")

    # Words and addresses

    def _see(self, request: Request, where: str) -> Response:
        # 303: reloading the next page posts nothing again. A path only: no Host header decides where it leads.
        return RedirectResponse(f"{self._pages.root}/u/{request.path_params['token']}{where}", 303)

    def _view(self, one: Subscription, masked: str, issue_id: int) -> SubscriptionView:
        own = self._keyring.sign(Token(Purpose.UNSUBSCRIBE, one.id, one.generation, issue_id))
        return SubscriptionView(
            **_shown_of(one),
            masked=masked,
            action=f"{self._pages.root}/u/{own}",
            since=None if one.ended_at is None else one.ended_at.astimezone(UTC),
            undoable=one.is_undoable_by(issue_id or None),
        )

    def _page(self, template: str, here: SubscriptionView, **values: object) -> Response:
        return self._pages.html(template, 200, here=here, promise=here.promise, contact=here.contact, **values)


def _shown_of(one: Publication | Subscription) -> dict[str, str]:
    return {name: getattr(one, name) for name in ("title", "language", "contact", "promise")}


def _wish(token: Token, action: FormAction, channel: Channel) -> Wish:
    scope = Scope.ALL if action is FormAction.ALL else Scope.ONE
    return Wish(token.subscription, channel, ACTOR, token.issue or None, scope)


async def _walk(steps: Iterator[OptOut]) -> OptOut:
    """Take the steps of an opt-out in its lane and wait between them without holding a thread."""
    outcome = await run_in(LEAVING, next, steps)
    while not outcome.settled:
        await asyncio.sleep(optout.POLL_S)
        later = await run_in(LEAVING, next, steps, None)
        if later is None:
            break
        outcome = later
    return outcome


def _one_click_words(outcome: OptOut) -> str:
    if outcome.already and not outcome.on_its_way:
        return "You are already off the list.\n"
    words = "You are unsubscribed.\n"
    return words + "".join("One copy may be on its way.\n" for _ in outcome.on_its_way[:1])
