"""A checked issue as a reader will see it: its mail, its text part, or one self-contained page of all its views.

On the page phone, desktop, dark and text stand side by side. Pictures are inlined, scripts and the network are not
needed, and each view stands in a sandboxed frame, so that the page can be opened, kept and passed on as it is.
Nothing is sent, and the links are a proof's: they change nothing.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import unescape

from markupsafe import Markup, escape

from worker import clock
from worker.compose.media import MediaItem
from worker.domain.compiled import CompiledIssue
from worker.editorial.drafts import Draft
from worker.editorial.proof import compile_for_proof, preview_token, proof_builder
from worker.message.personalize import Personalizer
from worker.settings import Settings
from worker.storage.engine import Database
from worker.storage.people import subscribers

PHONE_WIDTH = 360
DESKTOP_WIDTH = 680
SHOWN_WIDTH = 600
"""Pixels of a picture in a preview, which holds each of them four times: the layout's width, half of what is sent."""
LIGHT_BYTES = 40_000  # a picture below stays as it is
_SCHEME = re.compile(r"@media \(prefers-color-scheme:dark\)")

_PAGE = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Preview: {subject}</title><style>
:root{{color-scheme:light dark}}
body{{margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif;background:#f4f5f4;color:#1b2624}}
h1{{font-size:22px;margin:0 0 4px}} p{{margin:0 0 20px;color:#55605d}}
main{{display:flex;flex-wrap:wrap;gap:24px;align-items:flex-start}}
section{{min-width:0}} h2{{font-size:16px;margin:0 0 8px}}
iframe{{border:1px solid #b9c2be;border-radius:6px;background:#fff;height:80vh;max-width:100%}}
pre{{margin:0;padding:16px;border:1px solid #b9c2be;border-radius:6px;background:#fff;height:80vh;overflow:auto;
box-sizing:border-box;font:15px/1.5 ui-monospace,monospace;white-space:pre-wrap;width:76ch;max-width:100%}}
@media (prefers-color-scheme:dark){{body{{background:#101615;color:#e6ebe9}}
p{{color:#a8b5b1}} pre{{background:#182120}}}}
</style></head><body><h1>{subject}</h1><p>From {sender}. Shown as {reader} gets it.</p>
<p>In a list of mails: <b>{subject}</b> {preheader}</p><main>
{views}<section><h2 id="text">Text part</h2><pre tabindex="0" aria-labelledby="text">{text}</pre></section>
</main></body></html>
""")

_VIEW = Markup(
    '<section><h2>{title}</h2><iframe sandbox width="{width}" title="{title}" srcdoc="{document}"></iframe></section>\n'
)


NOBODY = "a reader of whom nothing is known"


@dataclass(frozen=True)
class Preview:
    """An issue as one reader would get it; `values` are the reader's, `reader` the name or address to call them by."""

    draft: Draft
    compiled: CompiledIssue
    values: Mapping[str, str]
    reader: str

    def html(self) -> str:
        """The page with all views."""
        return preview_html(self.compiled, self.draft.media.values(), self.values, reader=self.reader)

    def text(self) -> str:
        """The text part."""
        return Personalizer(self.compiled).show(self.values).text

    def mail(self, database: Database, settings: Settings, address: str | None) -> bytes:
        """The mail itself, as a proof to the address; without one, to the publication's own."""
        builder = proof_builder(database, settings, self.compiled)
        token = preview_token(settings)
        to = address or self.compiled.from_address
        return builder.build_proof(to, clock.utcnow(), self.values, token=token).message


def preview_issue(database: Database, settings: Settings, draft: Draft, address: str | None) -> Preview:
    """The issue as the reader with this address would get it, or as one of whom nothing is known.

    Raises NotFoundError for an unknown reader, UsageError for a text that cannot be compiled.
    """
    values, reader = ({}, NOBODY) if address is None else _values_of(database, address)
    token = preview_token(settings)
    values["unsubscribe_url"] = f"{settings.base_url}/u/{token}"
    return Preview(draft, compile_for_proof(settings, draft, token), values, reader)


def preview_html(
    compiled: CompiledIssue,
    media: Iterable[MediaItem],
    values: Mapping[str, str],
    *,
    reader: str = "a reader without any known value",
) -> str:
    """The page. `values` are one reader's (missing ones are empty); unsubscribe_url should lead nowhere real."""
    mail = Personalizer(compiled).show(values)
    light, dark = _SCHEME.sub("@media not all", mail.html), _SCHEME.sub("@media all", mail.html)
    shown = {item.name: item for item in media if item.width and item.name in mail.html}
    stills = [(item, item.small(SHOWN_WIDTH) if len(item.data) > LIGHT_BYTES else item) for item in shown.values()]
    # What moves is heavy, so that it moves in the first view only.
    moving = [(item, item if item.moves else still) for item, still in stills]
    views = (
        ("Phone", PHONE_WIDTH, _inlined(light, compiled.base_url, moving)),
        ("Desktop", DESKTOP_WIDTH, _inlined(light, compiled.base_url, stills)),
        ("Phone, dark", PHONE_WIDTH, _inlined(dark, compiled.base_url, stills)),
        ("Desktop, dark", DESKTOP_WIDTH, _inlined(dark, compiled.base_url, stills)),
    )
    return str(
        _PAGE.format(
            subject=mail.subject,
            preheader=preheader_of(mail.html) or "(no preheader: mail programs show the first words of the mail)",
            sender=f"{compiled.from_name} <{compiled.from_address}>",
            reader=reader,
            text=mail.text,
            views=Markup("").join(_VIEW.format(title=title, width=width, document=doc) for title, width, doc in views),
        )
    )


def preheader_of(html: str) -> str:
    """The hidden line that mail programs show behind the subject, as the layout puts it first."""
    hidden = re.search(r'<div aria-hidden="true"[^>]*>([^<]*)</div>', html)
    return " ".join(unescape(hidden[1]).replace("\u200c", " ").split()) if hidden else ""


def _values_of(database: Database, address: str) -> tuple[dict[str, str], str]:
    """A known reader's values, and the address as it is stored."""
    instance = database.instance()
    with database.read() as conn:
        subscriber = subscribers.find_by_address(conn, instance, address)
    attributes = {name: str(value) for name, value in subscriber.attributes.items()}
    return {**attributes, "name": subscriber.name, "language": subscriber.language or ""}, subscriber.address or ""


def _inlined(html: str, base_url: str, media: Iterable[tuple[MediaItem, MediaItem]]) -> str:
    """The mail with each hosted picture (first of the pair) in it as the second."""
    for hosted, shown in media:
        data = f"data:{shown.content_type};base64,{base64.b64encode(shown.data).decode()}"
        html = html.replace(f'src="{escape(base_url)}/media/{hosted.name}"', f'src="{data}"')
    return html
