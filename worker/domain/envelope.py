"""What SMTP carries outside the message: return path and forward path (RFC 5321 2.3.1). Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Envelope:
    """One transaction's envelope; always exactly one recipient, because every mail is personal.

    Both paths are plain addr-specs without angle brackets, domains as A-labels, no control characters
    (checked by `domain.address.parse_address` before one is made).
    """

    mail_from: str
    rcpt_to: str

    @property
    def needs_smtputf8(self) -> bool:
        """Whether a local part is not ASCII, so that the relay must offer SMTPUTF8 (RFC 6531 3.4)."""
        return not (self.mail_from.isascii() and self.rcpt_to.isascii())
