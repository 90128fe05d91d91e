"""Build whole mails of an issue before it is frozen, so that no worker is the first to find that none can be.

Two readers are made up: one of whom nothing is known, and one with the longest values an import takes in.
"""

from worker import clock
from worker.domain.compiled import CompiledIssue
from worker.domain.subscriber import Recipient
from worker.editorial.drafts import Draft
from worker.errors import RefusedError, Remedy
from worker.message.build import BuildError, MessageBuilder
from worker.message.key_store import load_signer
from worker.settings import Settings
from worker.tokens import TOKEN_CHARS, Keyring

_LARGEST = 2**32 - 1  # of what a token can name
_LENGTHS = (500, 50)
"""Of a value: the longest an import takes in, and one a loop may have. A text must be good for one of the two; whose
value is too long for a loop has a copy that fails alone."""
_NAME_CHARS = 200
_LOCAL, _DOMAIN = "l" * 64, ".".join(["d" * 59] * 3) + ".example"


def refuse_unbuildable(settings: Settings, draft: Draft) -> None:
    """Raises RefusedError with the cause when no mail of this draft could be built."""
    compiled = draft.compile_with("v" * TOKEN_CHARS, f"corranto-{_LARGEST}-{'0' * 12}")
    try:
        builder = MessageBuilder(
            compiled,
            keyring=Keyring(settings.keys),
            issue_id=_LARGEST,
            instance=bytes(16),
            base_url=settings.base_url,
            signer=load_signer(settings.dkim_dir, compiled.from_address),
            fixed_return_path=settings.return_path == "fixed",
        )
        cause = _why_not(builder, _reader(compiled, "r@example.org", "", 0))
        longest = [_why_not(builder, _reader(compiled, f"{_LOCAL}@{_DOMAIN}", "Ж" * _NAME_CHARS, n)) for n in _LENGTHS]
        if cause is None and all(longest):
            cause = f"for a reader with long values, {longest[-1]}"
    except ValueError as error:  # a header that cannot be written, or a return path that would be too long
        cause = str(error)
    if cause is not None:
        raise RefusedError("issue.cannot_be_built", remedy=Remedy.CHANGE, slug=draft.text.slug, cause=cause)


def _why_not(builder: MessageBuilder, reader: Recipient) -> str | None:
    try:
        builder.build(reader, clock.utcnow())
    except BuildError as error:
        return error.reason
    return None


def _reader(compiled: CompiledIssue, address: str, name: str, length: int) -> Recipient:
    return Recipient(
        n=_LARGEST,
        subscriber_id=_LARGEST,
        subscription_id=2**48 - 1,
        generation=_LARGEST,
        address=address,
        name=name,
        language="",
        consent_date="2026-01-31" if length else "",
        attributes=dict.fromkeys(compiled.variables, "Ж" * length),
    )
