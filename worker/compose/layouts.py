"""The environment in which the layouts of templates/mail are rendered, once per issue. Pure.

Not the environment of recipient templates (`compose.template`): layouts are ours, see no reader's value, and put marks
where one will stand.
"""

from collections.abc import Mapping

import jinja2

from worker.compose.text_part import wrap


def layout_environment(texts: Mapping[str, str]) -> jinja2.Environment:
    """Layouts by file name (`newsletter.html`, `newsletter.txt` …). Only `.html` is escaped."""
    bare = {name: "\n".join(line.strip() for line in text.split("\n")) for name, text in texts.items()}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(bare),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html",), default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["wrap"] = wrap
    return environment
