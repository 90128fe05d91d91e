"""Ask our own opt-out address whether it answers: a mail whose way out is dead must not leave."""

import urllib.error
import urllib.request

from worker.settings import Settings
from worker.tokens import Keyring, Purpose, Token

TIMEOUT_S = 8.0  # well below the 20 s between two probes; a way out slower than this counts as dead
_BODY = b"List-Unsubscribe=One-Click"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """RFC 8058 3.1: the answer to a one-click POST must not be a redirect."""

    def redirect_request(self, *_args: object) -> None:
        return None


def is_wanted(settings: Settings) -> bool:
    """Whether queueing and sending depend on the probe."""
    return settings.probe_base_url == "always" or not settings.is_loopback_relay


def probe_optout(settings: Settings) -> str | None:
    """None when base_url answers a one-click POST with 2xx, else the cause in one sentence. Changes nothing."""
    token = Keyring(settings.keys).sign(Token(Purpose.PROBE))
    url = f"{settings.base_url}/u/{token}"
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked with the settings
        url, data=_BODY, method="POST", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            answer.read(1024)
            return None
    except urllib.error.HTTPError as error:
        return f"{settings.base_url} answers a one-click unsubscribe with {error.code} instead of 200"
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        return f"{settings.base_url} does not answer a one-click unsubscribe: {cause}"
