"""One SMTP dialogue of the sink: a strict server that trusts nothing and answers in order.

Octets come in, replies and accepted mails go out. `SinkState` holds what all dialogues share. A mail is kept and logged
before its reply is written; a crash in between leaves the sender in doubt about a mail that is there.
RFC 5321, 2920 (pipelining), 3030 (BDAT), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 3461 (DSN).
"""

import asyncio
from collections.abc import Callable

from worker import clock
from worker.sink import commands, faults
from worker.sink.acceptance_log import AcceptedMail
from worker.sink.commands import Extension, Rejected
from worker.sink.faults import FaultKind
from worker.sink.incoming import LARGEST_MAIL, NO_ROOM, TOO_LARGE, IncomingData, IncomingMail
from worker.sink.state import SinkState

HOST_NAME = "sink.invalid"
MOST_RECIPIENTS = 1_000  # RFC 5321 4.5.3.1.8 asks for at least 100
FAREWELL_S = 5.0  # for the last reply to be read
MOST_ERRORS = 20  # refused commands in one dialogue before it is closed; a confused client must not spin


class Dialogue(asyncio.Protocol):
    """The dialogue with one client."""

    def __init__(self, state: SinkState) -> None:
        self._state = state
        self._offers = state.extensions
        self._transport: asyncio.Transport | None = None
        self._replies: list[bytes] = []
        self._rest = b""
        self._closing = False
        self._held: asyncio.TimerHandle | None = None
        self._errors = 0
        self.heard_at = clock.monotonic()
        self._open = IncomingMail()
        self._unread = False
        self.is_greeted = False
        self.mail_since: float | None = None

    # Transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._state.make_place(self.heard_at):
            self.dismiss(b"421 4.7.0 Too many sessions")
            return
        self._state.dialogues.add(self)
        transport.write(b"220 %s ESMTP Corranto sink\r\n" % HOST_NAME.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.dialogues.discard(self)
        self._closing = True
        self._begin_anew()
        if self._held is not None:
            self._held.cancel()

    def pause_writing(self) -> None:
        """The client does not read its replies: it is not read either, so that they cannot fill the memory."""
        self._unread = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._unread = False
        if self._transport is not None and self._held is None and not self._closing:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.heard_at = clock.monotonic()
        if self._held is not None:
            self._rest += data
            return
        self._walk(self._rest + data if self._rest else data)

    def dismiss(self, reply: bytes) -> None:
        """Say a last word and hang up."""
        self._closing = True
        self._state.dialogues.discard(self)
        self._begin_anew()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._spoken(reply))
            self._close()

    @property
    def is_held(self) -> bool:
        """Whether a slow reply is being waited for, which is no idleness."""
        return self._held is not None

    def _close(self) -> None:
        """Close when the last reply is read; a client that does not read it is not waited for."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            asyncio.get_running_loop().call_later(FAREWELL_S, self._transport.abort)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # Octets

    def _walk(self, data: bytes) -> None:
        """Take commands and bodies off `data` until it is used up, held or over."""
        self._rest = b""
        position, end = 0, len(data)
        while position < end and not self._closing and self._held is None:
            if self._open.chunk_left:
                position = self._take_chunk(data, position)
            elif self._open.data is not None:
                position = self._take_data(data, position)
            else:
                line_end = data.find(b"\n", position)
                length = (line_end if line_end >= 0 else end) - position
                if data[position] == commands.TLS_RECORD:
                    self._quit_with(b"500 5.5.1 Only SMTP without TLS is spoken here")
                elif length >= commands.LONGEST_LINE:
                    self._quit_with(b"500 5.5.2 Command line too long")
                elif line_end < 0:
                    break
                else:
                    self._take_line(data[position:line_end], line_end + 1 < end)
                    position = line_end + 1
            if position < end and not self._may_pipeline():
                self._quit_with(b"503 5.5.1 Improper use of command pipelining")
        self._flush()
        if self._closing:
            self._close()
        elif position < end:
            self._rest = data[position:] if position else data

    def _may_pipeline(self) -> bool:
        """Whether octets may already follow what was just taken: RFC 2920 3.1, or a body."""
        in_body = self._open.chunk_left > 0 or self._open.data is not None
        return in_body or self._closing or Extension.PIPELINING in self._offers

    def _flush(self) -> None:
        if self._replies and self._transport is not None:
            self._transport.write(b"".join(self._replies))
            self._replies.clear()

    def _take_chunk(self, data: bytes, position: int) -> int:
        """The octets of a BDAT chunk (RFC 3030 2); a refused chunk is read all the same, to stay in step."""
        piece = data[position : position + self._open.chunk_left]
        self._open.chunk_left -= len(piece)
        if self._open.chunk_refusal is None:
            if self._state.has_room(self._open, len(piece)):
                self._open.chunks += piece
            else:
                self._refuse_chunks(NO_ROOM)
        if not self._open.chunk_left:
            self._end_chunk()
        return position + len(piece)

    def _refuse_chunks(self, refusal: bytes) -> None:
        self._open.chunk_refusal = refusal
        self._open.chunks.clear()
        self._state.give_back(self._open)

    def _take_data(self, data: bytes, position: int) -> int:
        incoming = self._open.data
        assert incoming is not None
        has_room = incoming.refusal is not None or self._state.has_room(self._open, len(data) - position)
        consumed = incoming.take(data, position, has_room)
        if not incoming.is_whole:
            if incoming.refusal is not None:
                self._state.give_back(self._open)
            return consumed
        self._open.data = None
        if incoming.refusal is not None:
            self._end_transaction(incoming.refusal)
        else:
            content = incoming.content()
            del incoming  # the largest mails are held twice only while they must be
            self._judge_body(content)
        return consumed

    # Commands

    def _take_line(self, line: bytes, more_follows: bool) -> None:
        if line[-1:] != b"\r" or b"\r" in line[:-1]:
            self._quit_with(b"521 5.5.2 Bare LF or CR received")
            return
        line = line[:-1]
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        if verb in commands.OTHER_PROTOCOLS:
            self._quit_with(b"500 5.5.1 Only SMTP is spoken here")
            return
        if more_follows and verb in commands.LAST_IN_GROUP:
            self._quit_with(b"503 5.5.1 %s must be the last of a group" % verb)
            return
        handler = _HANDLERS.get(verb)
        if handler is None or (verb == b"BDAT" and Extension.CHUNKING not in self._offers):
            self._refuse(b"500 5.5.1 Command not recognised")
            self._closing = self._closing or verb == b"BDAT"  # the chunk would be read as commands
            return
        try:
            if len(line) > commands.length_limit(verb) - 2:
                raise Rejected(b"500 5.5.2 Command line too long")
            handler(self, argument)
        except Rejected as rejected:
            self._refuse(rejected.reply)

    def _ehlo(self, argument: bytes) -> None:
        self._hello(argument, b"\r\n".join(commands.ehlo_lines(HOST_NAME.encode(), self._offers, LARGEST_MAIL)))

    def _helo(self, argument: bytes) -> None:
        self._hello(argument, b"250 %s" % HOST_NAME.encode())

    def _hello(self, argument: bytes, answer: bytes) -> None:
        if not argument.strip():
            raise Rejected(b"501 5.5.4 A name is missing")
        self.is_greeted = True
        self._begin_anew()
        self._replies.append(answer + b"\r\n")

    def _mail(self, argument: bytes) -> None:
        if not self.is_greeted:
            raise Rejected(b"503 5.5.1 Say EHLO first")
        if self._open.mail_from is not None:
            raise Rejected(b"503 5.5.1 A transaction is open")
        sender = commands.parse_mail(argument, self._offers, LARGEST_MAIL)
        self._open.mail_from, self._open.smtputf8 = sender.address, sender.smtputf8
        self.mail_since = self.heard_at
        self._say(b"250 2.1.0 Sender ok")

    def _rcpt(self, argument: bytes) -> None:
        if self._open.mail_from is None or self._open.chunks:
            raise Rejected(b"503 5.5.1 Say MAIL first")
        address = commands.parse_rcpt(argument, self._offers, smtputf8=self._open.smtputf8)
        if len(self._open.rcpts) >= MOST_RECIPIENTS or not self._state.has_room(self._open, len(address) + 100):
            raise Rejected(b"452 4.5.3 Too many recipients")
        fault = faults.fault_of(address)
        if fault.kind is FaultKind.ACCEPT:
            pass
        elif fault.kind is FaultKind.DROP_BEFORE:
            self._state.counts.dropped += 1
            self._closing = True
            return
        elif fault.kind is FaultKind.DROP:
            self._open.drops = True
        elif fault.kind is FaultKind.SLOW:
            self._open.delay_s = max(self._open.delay_s, fault.amount or 0.0)
        else:
            refusal = self._state.fault_reply(fault, address)
            if refusal is not None:
                self._state.counts.refused += 1
                self._say(refusal)
                return
        self._open.rcpts.append(address)
        self._say(b"250 2.1.5 Recipient ok")

    def _begin_data(self, argument: bytes) -> None:
        if argument:
            raise Rejected(b"501 5.5.4 DATA takes no argument")
        if self._open.mail_from is None or self._open.chunks:
            raise Rejected(b"503 5.5.1 Say MAIL first")
        if not self._open.rcpts:
            raise Rejected(b"554 5.5.1 No valid recipients")
        self._open.data = IncomingData()
        self._say(b"354 End with a dot on a line of its own")

    def _begin_chunk(self, argument: bytes) -> None:
        size, self._open.chunk_is_last = commands.parse_bdat(argument)
        self._open.chunk_left = size
        self._open.chunk_total += size
        if self._open.chunk_refusal is None:
            if self._open.mail_from is None:
                self._open.chunk_refusal = b"503 5.5.1 Say MAIL first"
            elif not self._open.rcpts:
                self._open.chunk_refusal = b"554 5.5.1 No valid recipients"
            elif self._open.chunk_total > LARGEST_MAIL:
                self._refuse_chunks(TOO_LARGE)
        if not size:
            self._end_chunk()

    def _end_chunk(self) -> None:
        if self._open.chunk_refusal is not None:
            refusal = self._open.chunk_refusal
            if self._open.chunk_is_last or self._open.mail_from is None:
                self._end_transaction(refusal)
            else:
                self._refuse(refusal)
        elif self._open.chunk_is_last:
            self._judge_body(bytes(self._open.chunks))
        else:
            self._say(b"250 2.0.0 Chunk ok")

    def _rset(self, argument: bytes) -> None:
        self._begin_anew()
        self._noop(argument)

    def _noop(self, argument: bytes) -> None:
        self._say(b"250 2.0.0 Ok")

    def _vrfy(self, argument: bytes) -> None:
        # RFC 5321 7.3: never tells whether a mailbox exists.
        self._say(b"252 2.1.5 Send some mail and see")

    def _help(self, argument: bytes) -> None:
        seen = self._state.counts
        self._say(
            b"214 2.0.0 accepted=%d refused=%d dropped=%d octets=%d"
            % (seen.accepted, seen.refused, seen.dropped, seen.octets)
        )

    def _quit(self, argument: bytes) -> None:
        self._quit_with(b"221 2.0.0 Bye")

    # Bodies

    def _judge_body(self, raw: bytes) -> None:
        if self._open.drops:
            self._state.counts.dropped += 1
            self._closing = True
            return
        refusal = self._state.body_refusal(raw)
        if refusal is not None:
            self._end_transaction(refusal)
            self._closing = self._closing or refusal.startswith(b"521")
            return
        assert self._open.mail_from is not None
        try:
            self._state.keep(AcceptedMail(self._open.mail_from, tuple(self._open.rcpts), raw, clock.utcnow()))
        except OSError:
            self._end_transaction(b"452 4.3.1 Cannot store the mail")
            return
        self._state.counts.accepted += 1
        self._state.counts.octets += len(raw)
        if self._open.delay_s:
            self._hold(self._open.delay_s)
            return
        self._begin_anew()
        self._say(b"250 2.0.0 Accepted")

    def _hold(self, delay_s: float) -> None:
        assert self._transport is not None
        self._transport.pause_reading()
        self._held = asyncio.get_running_loop().call_later(delay_s, self._release)

    def _release(self) -> None:
        assert self._transport is not None
        self._held = None
        self._begin_anew()
        self._say(b"250 2.0.0 Accepted, slowly")
        self.heard_at = clock.monotonic()
        self._walk(self._rest)
        if not self._closing and self._held is None and not self._unread:
            self._transport.resume_reading()

    # Replies

    def _spoken(self, reply: bytes) -> bytes:
        if Extension.ENHANCEDSTATUSCODES not in self._offers:
            reply = commands.without_enhanced_code(reply)
        return reply + b"\r\n"

    def _say(self, reply: bytes) -> None:
        self._replies.append(self._spoken(reply))

    def _refuse(self, reply: bytes) -> None:
        self._say(reply)
        # Refused mails are a relay's daily bread; only misuse of the protocol counts.
        self._errors += reply.startswith(b"50")
        if self._errors > MOST_ERRORS:
            self._quit_with(b"421 4.7.0 Too many errors")

    def _quit_with(self, reply: bytes) -> None:
        self._say(reply)
        self._closing = True

    def _end_transaction(self, refusal: bytes) -> None:
        self._state.counts.refused += 1
        self._begin_anew()
        self._refuse(refusal)

    def _begin_anew(self) -> None:
        """Forget the open mail and give its room back."""
        self._state.give_back(self._open)
        self._open = IncomingMail()
        self.mail_since = None


_HANDLERS: dict[bytes, Callable[[Dialogue, bytes], None]] = {
    b"EHLO": Dialogue._ehlo,
    b"HELO": Dialogue._helo,
    b"MAIL": Dialogue._mail,
    b"RCPT": Dialogue._rcpt,
    b"DATA": Dialogue._begin_data,
    b"BDAT": Dialogue._begin_chunk,
    b"RSET": Dialogue._rset,
    b"NOOP": Dialogue._noop,
    b"VRFY": Dialogue._vrfy,
    b"HELP": Dialogue._help,
    b"QUIT": Dialogue._quit,
}
