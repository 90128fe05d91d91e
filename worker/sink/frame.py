"""A mail's HTML made ready for the sandboxed frame: one scheme, links in new tabs, nothing that runs or calls out.

Pure. The lock is the frame's own policy (`CSP`) and sandbox, in the answer's header where no mail can reach it; the
removals here keep requests away that such a policy does not govern (prefetch, refresh) and the pages tidy.
"""

import re

from selectolax.lexbor import LexborHTMLParser

_REMOVED = "script, base, link, iframe, frame, frameset, object, embed, portal, meta[http-equiv]"
_DARK = re.compile(r"\(\s*prefers-color-scheme\s*:\s*dark\s*\)", re.IGNORECASE)
_LIGHT = re.compile(r"\(\s*prefers-color-scheme\s*:\s*light\s*\)", re.IGNORECASE)
_ALWAYS, _NEVER = "(min-width: 0px)", "(max-width: 0px)"

NO_HTML = "<!doctype html><html lang=en><title>No HTML</title><p>This mail has no HTML part.</p>"


def frame_policy(base_url: str) -> str:
    """The frame's Content-Security-Policy. Pictures come from this installation or from the mail itself.

    `allow-popups` and the escape let a person press Unsubscribe: the link opens in a tab of its own, with script
    and forms working there as for any reader, while the frame itself has neither.
    """
    return (
        "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
        f"img-src {base_url} data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    )


def has_dark_scheme(html: str) -> bool:
    """Whether the mail brings colours of its own for dark mail programs."""
    if _DARK.search(html):
        return True
    for node in LexborHTMLParser(html).css("meta[name][content]"):
        name = (node.attributes.get("name") or "").lower()
        if name in ("color-scheme", "supported-color-schemes"):
            return "dark" in (node.attributes.get("content") or "").lower()
    return False


def framed_html(html: str, *, dark: bool) -> str:
    """The document to show, in the light or the dark scheme, whatever the looking person's own system prefers."""
    tree = LexborHTMLParser(html)
    for node in tree.css(_REMOVED):
        node.decompose()
    for node in tree.css("a, area"):
        if not (node.attributes.get("href") or "").startswith("#"):
            node.attrs["target"] = "_blank"
            node.attrs["rel"] = "noopener noreferrer"
        if "ping" in node.attributes:
            del node.attrs["ping"]
    always, never = (_DARK, _LIGHT) if dark else (_LIGHT, _DARK)
    for node in tree.css("style"):
        sheet = node.text(deep=True)
        node.inner_html = never.sub(_NEVER, always.sub(_ALWAYS, sheet))
    for node in tree.css("[media]"):
        media = node.attributes.get("media") or ""
        node.attrs["media"] = never.sub(_NEVER, always.sub(_ALWAYS, media))
    scheme = "dark" if dark and has_dark_scheme(html) else "light"
    head = tree.head
    if head is not None:
        style = tree.create_node("style")
        style.inner_html = f":root{{color-scheme:{scheme} !important}}"
        head.insert_child(style)
    return tree.html or NO_HTML
