"""The terminal's catalogue: every code of `worker.errors` as one sentence that names the thing, the value, the remedy.

Pure. A sentence is a format text over the trouble's fields, or a function of them where a field is a list, a time or
may be missing. Which code stands in which file follows the room that raises it. A test holds it complete.
"""

from collections.abc import Callable, Mapping

from worker.errors import CorrantoError, Trouble
from worker.screen.sentences import command_line, compose, dispatch, doctor, machine, people, relay

Sentence = str | Callable[..., str]

SENTENCES: Mapping[str, Sentence] = {
    **command_line.SENTENCES,
    **compose.SENTENCES,
    **dispatch.SENTENCES,
    **doctor.SENTENCES,
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
    return _say(sentence, trouble)


def word_fix(trouble: Trouble) -> str:
    """What to type about something that `doctor` found; "" when nothing needs to be done."""
    return _say(doctor.FIXES.get(trouble.code, ""), trouble)


def _say(sentence: Sentence, trouble: Trouble) -> str:
    fields = {name: _worded(value) for name, value in trouble.fields.items()}
    return sentence.format(**fields) if isinstance(sentence, str) else sentence(**fields)


def _worded(value: object) -> object:
    """A field's value; troubles among it as their sentences."""
    if isinstance(value, Trouble):
        return word(value)
    return [_worded(each) for each in value] if isinstance(value, list | tuple) else value
