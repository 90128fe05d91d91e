"""config/default.toml is the manual of all settings: complete, in words, and nothing in it does nothing."""

import ast
import re
import tomllib

from tests.house.checkout import ROOT, modules
from worker.settings import DEFAULTS_FILE, Settings, load

READ_THROUGH = {"secret_keys": "keys", "relay_rate": "rate", "actor": "who"}


def test_every_setting_has_a_default_and_a_paragraph_that_explains_it() -> None:
    # Given
    text = DEFAULTS_FILE.read_text(encoding="utf-8")
    defaults = tomllib.loads(text)

    # When
    explained = {key for paragraph in re.split(r"\n\s*\n", text) for key in _explained_in(paragraph)}

    # Then
    assert set(defaults) == set(Settings.model_fields)
    assert explained == set(defaults)


def test_the_defaults_are_valid() -> None:
    assert load({}).is_loopback_relay


def test_every_setting_is_read_somewhere() -> None:
    read = {
        node.attr
        for path, tree in modules()
        if str(path) != "worker/settings.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    }
    unread = [name for name in Settings.model_fields if name not in read and READ_THROUGH.get(name) not in read]
    assert not unread


def test_sample_configurations_load() -> None:
    for file in sorted((ROOT / "config").glob("*.toml")):
        if file != DEFAULTS_FILE:
            load({"CORRANTO_CONFIG": str(file)})


def _explained_in(paragraph: str) -> list[str]:
    """Keys of a paragraph that stand after at least one line of comment."""
    keys, commented = [], False
    for line in paragraph.splitlines():
        if line.startswith("#"):
            commented = True
        elif commented and (match := re.match(r"(\w+) *=", line)):
            keys.append(match[1])
    return keys
