"""The page of a proof: what it is, and a button for who got it to approve the text. No reader is ever touched.

As for readers, the signed token in the path is the whole authority and only POST changes anything: a mail scanner that
follows every link approves nothing.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from worker.editorial import approval
from worker.log import logger
from worker.storage.engine import Database
from worker.tokens import Keyring, Purpose, Token, TokenError
from worker.web.pages import Pages

_log = logger("web.proofs")


def routes(database: Database, keyring: Keyring, pages: Pages) -> list[BaseRoute]:
    """/proof/{token} and below."""
    proofs = _Proofs(database, keyring, pages)
    return [
        Route("/proof/{token}", proofs.show),
        Route("/proof/{token}/approve", proofs.approve, methods=["POST"]),
        Route("/proof/{token}/withdraw", proofs.withdraw, methods=["POST"]),
        Route("/proof/{token}/{figure}", proofs.figure),
    ]


class _Proofs:
    def __init__(self, database: Database, keyring: Keyring, pages: Pages) -> None:
        self._database = database
        self._keyring = keyring
        self._pages = pages

    def show(self, request: Request) -> Response:
        """Which text it is, when it was mailed, and whether it is approved."""
        return self._with(request, self._show)

    def approve(self, request: Request) -> Response:
        """Yes to this text."""
        return self._with(request, lambda token, root: self._set(token, root, approved=True))

    def withdraw(self, request: Request) -> Response:
        """Not any more."""
        return self._with(request, lambda token, root: self._set(token, root, approved=False))

    def figure(self, request: Request) -> Response:
        """A figure at its full size, as its page will be once the issue is queued."""
        return self._with(request, lambda token, _: self._show_figure(token, request))

    def _with(self, request: Request, answer: Callable[[Token, str], Response]) -> Response:
        text = request.path_params["token"]
        try:
            token = self._keyring.read(text, Purpose.PROOF)
        except TokenError:
            return self._pages.error(404)
        return answer(token, f"{self._pages.root}/proof/{text}")

    def _show(self, token: Token, page: str) -> Response:
        proof = approval.read_proof(self._database, token)
        if proof is None:
            return self._pages.html("no_proof.html", proof=True)
        view = f"{self._pages.root}/v/{self._keyring.sign(token)}"
        return self._pages.html("proof.html", shown=proof, page=page, view=view, proof=False)

    def _set(self, token: Token, page: str, *, approved: bool) -> Response:
        approval.approve(self._database, token, approved=approved)
        _log.info("proof_answered", proof=token.issue, copy=token.generation, approved=approved)
        return RedirectResponse(page, 303)

    def _show_figure(self, token: Token, request: Request) -> Response:
        figure = approval.read_proof_figure(self._database, token, request.path_params["figure"])
        if figure is None:
            return self._pages.error(404)
        text = request.path_params["token"]
        page = f"{self._pages.root}/proof/{text}"
        return self._pages.figure(figure, f"{self._pages.root}/v/{text}", proof=True, proof_page=page)
