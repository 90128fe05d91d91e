"""One reader's mail, complete: envelope, bytes, fingerprint. Pure: keys, time and the issue come in.

What the issue fixes is prepared in the constructor; per reader the holes are filled, six fields written and all joined
once. A mail is a function of (issue, n, values, keys, date): building it again gives the same bytes, and the
fingerprint tells whether anything but the date has changed in between. A reader who cannot be built is an answer for
that reader alone.
"""

import hashlib
import hmac
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from worker.compose.template import spell_date
from worker.domain.compiled import FORMAT_NO, CompiledIssue
from worker.domain.envelope import Envelope
from worker.domain.subscriber import Recipient
from worker.errors import CorrantoError
from worker.message.dkim import Signer
from worker.message.list_headers import constant_list_headers, unsubscribe_headers
from worker.message.mime import Alternative, HeaderError, phrase_field, plain_field, text_field
from worker.message.personalize import PersonalizeError, Personalizer
from worker.tokens import VERP_CHARS, Keyring, Purpose, Token, base32, first_message_id_left, message_id_left

FINGERPRINT_OCTETS = 8  # compares a repeat with its own first try, so 64 bits are plenty
PROOF_MARK = "[PROOF] "
MAX_LOCAL_OCTETS = 64  # RFC 5321 4.5.3.1.1
MAX_PREFIX_OCTETS = MAX_LOCAL_OCTETS - VERP_CHARS - 1  # what token and `+` leave
_SIGNING_CHUNK = 8  # RSA takes about half a millisecond each: large enough that handing over costs nothing

# The last gate, wider than domain.address in letters and as strict in everything that could leave its place.
_MAILBOX = re.compile(r'([^\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff<>()\[\]\\,;:@"]+)@([A-Za-z0-9.-]+)')


class BuildError(Exception):
    """Raised when one recipient's mail cannot be built, now or ever, from what is stored. Names no address."""

    def __init__(self, n: int, reason: str) -> None:
        self.n, self.reason = n, reason
        super().__init__(f"delivery {n}: {reason}")


@dataclass(frozen=True, slots=True)
class Built:
    """A mail ready for the session: CRLF throughout, no line begins with a dot."""

    envelope: Envelope
    message: bytes
    fingerprint: bytes
    """8 octets: equal when the same row, built again at any date, would say the same under the same keys."""
    message_id: str
    """With its angle brackets."""


@dataclass(slots=True)
class _Unsigned:
    """A mail before its signature."""

    envelope: Envelope
    header: bytes
    body: list[bytes]
    fingerprint: bytes
    message_id: str


@dataclass(frozen=True, slots=True)
class _Way:
    """How a Message-ID is made, and the beginning of the fingerprints of mails that have one."""

    id_left: Callable[[bytes, int, int], str]
    digest: "hashlib._Hash"


def message_id(compiled: CompiledIssue, instance: bytes, issue_id: int, n: int) -> str:
    """The Message-ID of the copy for reader n, in its brackets (RFC 5322 3.6.4): one for all its tries."""
    return _message_id(message_id_left(instance, issue_id, n), _split(compiled.from_address)[1])


class MessageBuilder:
    """Builds the mails of one issue. Thread-safe; construction compiles the templates, so keep one per issue.

    `base_url` has no slash at its end. With `fixed_return_path` every mail leaves from the bounce address itself, and
    the Message-ID alone tells which copy came back. `hold_mailto` is the mailbox of a working intake or None. Raises
    HeaderError when something constant cannot stand in a header, ValueError when a return path would be too long.
    """

    def __init__(
        self,
        compiled: CompiledIssue,
        *,
        keyring: Keyring,
        issue_id: int,
        instance: bytes,
        base_url: str,
        signer: Signer | None = None,
        hold_mailto: str | None = None,
        fixed_return_path: bool = False,
    ) -> None:
        self._compiled, self._keyring, self._signer = compiled, keyring, signer
        self._issue_id, self._instance = issue_id, instance
        self._base_url = base_url.rstrip("/")
        self._personalizer = Personalizer(compiled)
        self._frame = Alternative(compiled.boundary)
        from_local, self._from_domain = _split(compiled.from_address)
        self._bounce, self._return_path = ("", ""), ""
        if fixed_return_path:
            self._return_path = "{}@{}".format(*_split(compiled.bounce_address or compiled.from_address))
        else:
            bounce = compiled.bounce_address or f"bounces@{self._from_domain}"
            self._bounce = _split_prefix(bounce, "bounce address")
        self._mailto = _split_prefix(hold_mailto, "unsubscribe mailbox") if hold_mailto else None
        self._from = phrase_field("From", compiled.from_name, f"{from_local}@{self._from_domain}")
        self._fixed = self._fixed_fields()
        self._view_url = f"{self._base_url}/v/{keyring.sign(Token(Purpose.VIEW, issue=issue_id))}"
        covered = f"{compiled.fingerprint} {FORMAT_NO} {issue_id} {instance.hex()} {keyring.key_id} ".encode()
        covered += signer.key_id if signer else b"unsigned"
        self._way = _Way(message_id_left, hashlib.sha256(covered + b" id 2"))
        self._first_way = _Way(first_message_id_left, hashlib.sha256(covered))
        self._spelled: dict[str, str] = {}

    def build(self, recipient: Recipient, date: datetime) -> Built:
        """The mail to one recipient, dated `date` (aware). Raises BuildError."""
        return self._signed(self._prepare(recipient, _stamp(date)), date)

    def repeat(self, recipient: Recipient, date: datetime, fingerprint: bytes | None) -> Built | BuildError:
        """The mail once more, with the Message-ID it had; its fingerprint tells whether it could be the same."""
        try:
            for way in (self._first_way, self._way):
                built = self._signed(self._prepare(recipient, _stamp(date), way), date)
                if built.fingerprint == fingerprint:
                    break
            return built
        except BuildError as error:
            return error

    def build_all(
        self,
        recipients: Sequence[Recipient],
        date: datetime,
        executor: Executor | None = None,
        most_octets: int | None = None,
    ) -> list[Built | BuildError]:
        """One answer per recipient, in order; fewer, but one at least, when `most_octets` are reached before the last.

        Signatures are made in `executor` when one is given.
        """
        stamp, room = _stamp(date), most_octets or sys.maxsize
        prepared: list[_Unsigned | BuildError] = []
        for recipient in recipients:
            try:
                mail = self._prepare(recipient, stamp)
            except BuildError as error:
                prepared.append(error)
            else:
                prepared.append(mail)
                room -= sum(map(len, mail.body))
                if room <= 0:
                    break
        if self._signer is None or executor is None:
            return self._sign_chunk(prepared, date)
        chunks = [prepared[at : at + _SIGNING_CHUNK] for at in range(0, len(prepared), _SIGNING_CHUNK)]
        signed = executor.map(self._sign_chunk, chunks, [date] * len(chunks))
        return [answer for chunk in signed for answer in chunk]

    def build_proof(
        self, address: str, date: datetime, reader: Mapping[str, str] | None = None, *, token: str
    ) -> Built:
        """A test mail: marked in its subject; what its links open says so and changes nothing. Raises BuildError.

        `token` is the proof's own. `reader` are the values of a reader to show it as; without them it is one of whom
        nothing is known.

        Every proof has a Message-ID of its own, or the second one would be hidden as a duplicate.
        """
        values = {
            "language": self._compiled.language,
            **(reader or {}),
            "unsubscribe_url": f"{self._base_url}/u/{token}",
            "view_url": f"{self._base_url}/v/{token}",
        }
        seed = f"proof {self._issue_id} {address} {date.isoformat()}".encode("utf-8", "replace")
        left = base32(hmac.digest(self._instance, seed, "sha256")[:16])
        return self._signed(self._assemble(0, address, values, left, _stamp(date), PROOF_MARK), date)

    def _prepare(self, recipient: Recipient, stamp: str, way: _Way | None = None) -> _Unsigned:
        n, way = recipient.n, way or self._way
        try:
            named = Token(Purpose.UNSUBSCRIBE, recipient.subscription_id, recipient.generation, self._issue_id)
            token = self._keyring.sign(named)
            left = way.id_left(self._instance, self._issue_id, n)
            values = {
                **recipient.attributes,
                "name": recipient.name,
                "language": recipient.language,
                "unsubscribe_url": f"{self._base_url}/u/{token}",
                "view_url": self._view_url,
                "consent_date": self._spell(recipient.consent_date),
            }
            return self._assemble(n, recipient.address, values, left, stamp, way=way)
        except BuildError:
            raise
        except CorrantoError as error:
            raise BuildError(n, _reason(error)) from error
        except Exception as error:  # a poisoned row must never stop its neighbours, whatever it holds
            raise BuildError(n, f"the row holds a value that cannot be used ({type(error).__name__})") from error

    def _assemble(
        self,
        n: int,
        address: str,
        values: dict[str, str],
        left: str,
        stamp: str,
        mark: str = "",
        way: _Way | None = None,
    ) -> _Unsigned:
        try:
            local, domain = _split(address)
            subject, text, html = self._personalizer.fill(values)
            message_id = _message_id(left, self._from_domain)
            header = b"".join(
                (
                    self._from,
                    plain_field("To", f"<{local}@{domain}>"),
                    text_field("Subject", mark + subject),
                    plain_field("Date", stamp),
                    plain_field("Message-ID", message_id),
                    unsubscribe_headers(values["unsubscribe_url"], self._leave_address(n)),
                    self._fixed,
                )
            )
            envelope = Envelope(self._return_path or self._verp(n), f"{local}@{domain}")
        except (PersonalizeError, HeaderError, _BadMailboxError) as error:
            raise BuildError(n, _reason(error)) from error
        body = self._frame.body(text, html)
        return _Unsigned(envelope, header, body, self._fingerprint(n, address, values, way or self._way), message_id)

    def _verp(self, n: int) -> str:
        return f"{self._bounce[0]}+{self._keyring.sign_verp(self._issue_id, n)}@{self._bounce[1]}"

    def _signed(self, mail: _Unsigned, date: datetime) -> Built:
        if self._signer is None:
            message = b"".join((mail.header, b"\r\n", *mail.body))
        else:
            body = b"".join(mail.body)
            message = b"".join((self._signer.sign(mail.header, body, date), mail.header, b"\r\n", body))
        return Built(mail.envelope, message, mail.fingerprint, mail.message_id)

    def _sign_chunk(self, chunk: Sequence[_Unsigned | BuildError], date: datetime) -> list[Built | BuildError]:
        return [mail if isinstance(mail, BuildError) else self._signed(mail, date) for mail in chunk]

    def _fixed_fields(self) -> bytes:
        """Everything constant that follows the reader's own fields."""
        compiled = self._compiled
        sender_id = base32(hmac.digest(self._instance, b"feedback id", "sha256")[:8])
        fields = constant_list_headers(compiled, self._issue_id, sender_id)
        if compiled.reply_to:
            fields += plain_field("Reply-To", "<{}@{}>".format(*_split(compiled.reply_to)))
        return fields + plain_field("MIME-Version", "1.0") + self._frame.field

    def _leave_address(self, n: int) -> str | None:
        if self._mailto is None or n == 0:
            return None
        token = self._keyring.sign_verp(self._issue_id, n, Purpose.MAILTO)
        return f"{self._mailto[0]}+{token}@{self._mailto[1]}"

    def _fingerprint(self, n: int, address: str, values: dict[str, str], way: _Way) -> bytes:
        digest = way.digest.copy()
        used = [values.get(name, "") for name in self._personalizer.variables]
        covered = "\x00".join((str(n), address, *(f"{len(value)} {value}" for value in used)))
        digest.update(covered.encode("utf-8", "surrogatepass"))
        return digest.digest()[:FINGERPRINT_OCTETS]

    def _spell(self, iso: str) -> str:
        if not iso:
            return ""
        spelled = self._spelled.get(iso)
        if spelled is None:
            spelled = spell_date(iso, self._compiled.language)
            if len(self._spelled) < 20_000:  # fifty years of days; more are not dates
                self._spelled[iso] = spelled
        return spelled


class _BadMailboxError(ValueError):
    """Raised when what should be an address could leave its place in a header or command."""


_OWN_WORDS = {
    "message.too_long": "the mail would have more than {limit} octets",
    "message.too_many_passes": "a value of this reader would make a loop run {passes} times, more than {limit}",
}


def _reason(error: Exception) -> str:
    """One sentence, kept with the copy."""
    if not isinstance(error, CorrantoError):
        return str(error)
    words = _OWN_WORDS.get(error.code)
    return words.format(**error.trouble.fields) if words else str(error)


def _stamp(date: datetime) -> str:
    """RFC 5322 3.3 with a numeric zone. Raises ValueError for a naive time."""
    if date.tzinfo is None:
        raise ValueError("a mail's date must know its zone")
    return format_datetime(date.astimezone(UTC))


def _message_id(left: str, domain: str) -> str:
    return f"<{left}@{domain}>"


def _split(address: str) -> tuple[str, str]:
    match = _MAILBOX.fullmatch(address)
    if match is None or len(address) > 254:
        raise _BadMailboxError("the address cannot stand in a mail")
    return match[1], match[2]


def _split_prefix(address: str, what: str) -> tuple[str, str]:
    """Local part and domain of an address that gets `+token` before its @."""
    local, domain = _split(address)
    if len(local.encode()) > MAX_PREFIX_OCTETS or not local.isascii():
        raise ValueError(
            f"the {what} {address} needs at most {MAX_PREFIX_OCTETS} ASCII characters before the @: "
            f"{VERP_CHARS + 1} more are added for each reader, and a relay refuses more than {MAX_LOCAL_OCTETS}"
        )
    return local, domain
