"""Where the files lie that come with the program: layouts, pages, sentences, settings. Never the working directory.

In a checkout, editable installs included, they stand beside the package; a wheel carries them inside it, since what
it puts beside a package would land among everybody else's.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CARRIED = _PACKAGE / "carried"
"""pyproject.toml names it too: what the wheel puts there."""

IS_CHECKOUT = not (_CARRIED / "templates").is_dir()
HOME = _PACKAGE.parent if IS_CHECKOUT else _CARRIED
TEMPLATES = HOME / "templates"
CONFIG = HOME / "config"
