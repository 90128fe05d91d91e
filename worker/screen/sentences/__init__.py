"""The terminal's catalogue: every code of `worker.errors` as one sentence that names the thing, the value, the remedy.

Pure. A sentence is a format text over the trouble's fields, or a function of them where a field is a list, a time or
may be missing. Which code stands in which file follows the room that raises it. A test holds it complete.
"""

from collections.abc import Callable, Mapping

from worker.errors import CorrantoError, Trouble
from worker.screen.sentences import command_line, compose, dispatch, machine, people, relay

Sentence = str | Callable[..., str]

SENTENCES: Mapping[str, Sentence] = {
    **command_line.SENTENCES,
    **compose.SENTENCES,
    **dispatch.SENTENCES,
    **machine.SENTENCES,
    **people.SENTENCES,
    **relay.SENTENCES,
}


def word(trouble: Trouble | CorrantoError) -> str:
    """The sentence a person reads in the terminal; several lines where several things are wrong."""
    if isinstance(trouble, CorrantoError):
        trouble = trouble.trouble
    sentence = SENTENCES.get(trouble.code)
    if sentence is None:
        return trouble.code  # a sentence that is not in the catalogue yet
    fields = {name: _word_within(value) for name, value in trouble.fields.items()}
    return sentence.format(**fields) if isinstance(sentence, str) else sentence(**fields)


def _word_within(value: object) -> object:
    """A field's troubles as their sentences; everything else as it is."""
    if isinstance(value, Trouble):
        return word(value)
    return [_word_within(part) for part in value] if isinstance(value, list | tuple) else value
