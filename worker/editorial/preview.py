"""A compiled issue → one self-contained page: phone, desktop, dark and text side by side.

Pictures are inlined, scripts and the network are not needed, and each view stands in a sandboxed frame, so that the
page can be opened, kept and passed on as it is.
"""

import base64
import re
from collections.abc import Iterable, Mapping

from markupsafe import Markup, escape

from worker.compose.media import MediaItem
from worker.domain.compiled import CompiledIssue
from worker.message.personalize import Personalizer

PHONE_WIDTH = 360
DESKTOP_WIDTH = 680
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
</style></head><body><h1>{subject}</h1><p>From {sender}. Shown as {reader} gets it.</p><main>
{views}<section><h2 id="text">Text part</h2><pre tabindex="0" aria-labelledby="text">{text}</pre></section>
</main></body></html>
""")

_VIEW = Markup(
    '<section><h2>{title}</h2><iframe sandbox width="{width}" title="{title}" srcdoc="{document}"></iframe></section>\n'
)


def preview_html(
    compiled: CompiledIssue,
    media: Iterable[MediaItem],
    values: Mapping[str, str],
    *,
    reader: str = "a reader without any known value",
) -> str:
    """The page. `values` are one reader's (missing ones are empty); unsubscribe_url should lead nowhere real."""
    mail = Personalizer(compiled).show(values)
    document = _inlined(mail.html, compiled.base_url, media)
    light, dark = _SCHEME.sub("@media not all", document), _SCHEME.sub("@media all", document)
    views = (
        ("Phone", PHONE_WIDTH, light),
        ("Desktop", DESKTOP_WIDTH, light),
        ("Phone, dark", PHONE_WIDTH, dark),
        ("Desktop, dark", DESKTOP_WIDTH, dark),
    )
    return str(
        _PAGE.format(
            subject=mail.subject,
            sender=f"{compiled.from_name} <{compiled.from_address}>",
            reader=reader,
            text=mail.text,
            views=Markup("").join(_VIEW.format(title=title, width=width, document=doc) for title, width, doc in views),
        )
    )


def _inlined(html: str, base_url: str, media: Iterable[MediaItem]) -> str:
    for item in media:
        if item.width:
            data = f"data:{item.content_type};base64,{base64.b64encode(item.data).decode()}"
            html = html.replace(f'src="{escape(base_url)}/media/{item.name}"', f'src="{data}"')
    return html
