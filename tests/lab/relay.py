"""A relay for the laboratory: takes mail, writes each reply down before it gives it, and misbehaves as told.

`python -m tests.lab.relay LOG --seed N [--plan JSON]` prints its port. A plan is a share per misbehaviour, such as
`{"cut": 0.01, "later": 0.05}`; what a mail meets depends on the seed, the reader and how often it was tried, so a run
can be repeated. One line of JSON per reply, appended in one write: the shape of `checker.Said`.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

OFFERS = (
    b"250-lab.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n"
)
PLANS = ("cut", "later", "gone", "full", "bye", "slow", "mixed")
"""Line cut instead of a final reply; 451 at the end; 550 5.1.1 to RCPT; 452 4.3.1 to RCPT; 421 after a taken mail;
a reply after a tenth of a second; one reply of several lines with two codes, which is no reply."""


class LabRelay:
    """All connections of one relay."""

    def __init__(self, log: Path, seed: int, plan: dict[str, float], delay_s: float = 0.0, without: str = "") -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._seed, self._plan, self._delay_s = seed, plan, delay_s
        lines = OFFERS.splitlines(keepends=True)
        self.offers = b"".join(line for line in lines if not without or without.encode() not in line)
        self._tries: dict[str, int] = {}

    def fate(self, rcpt: str) -> str:
        """What this mail meets, or "" for nothing."""
        self._tries[rcpt] = self._tries.get(rcpt, 0) + 1
        dice = random.Random(f"{self._seed} {rcpt} {self._tries[rcpt]}").random()
        for name in PLANS:
            share = self._plan.get(name, 0.0)
            if dice < share:
                return name
            dice -= share
        return ""

    def write_down(self, phase: str, rcpt: str, code: int, message_id: str = "", text: str = "") -> None:
        line = {"at": time.monotonic(), "phase": phase, "rcpt": rcpt, "code": code}
        line |= {"message_id": message_id, "text": text}
        os.write(self._log, json.dumps(line).encode() + b"\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. Whatever ends it, what was written down before stands."""
        try:
            writer.write(b"220 lab.test\r\n")
            await _Talk(self, reader, writer, self._delay_s).go_on()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class _Talk:
    def __init__(
        self, relay: LabRelay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
    ) -> None:
        self._relay, self._reader, self._writer, self._delay_s = relay, reader, writer, delay_s
        self._rcpt, self._fate = "", ""

    async def go_on(self) -> None:
        while line := await self._reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                self._writer.write(self._relay.offers)
            elif verb == b"RCPT":
                self._take_rcpt(line)
            elif verb == b"DATA" and self._rcpt:
                self._writer.write(b"354 go on\r\n")
                await self._writer.drain()
                if not await self._end(await self._reader.readuntil(b"\r\n.\r\n")):
                    return
            elif verb == b"BDAT":
                body = await self._reader.readexactly(int(line.split()[1]))
                if not self._rcpt:
                    self._writer.write(b"503 5.5.1 RCPT first\r\n")
                elif not await self._end(body):
                    return
            elif verb == b"QUIT":
                self._writer.write(b"221 bye\r\n")
                return
            else:
                self._rcpt = "" if verb in (b"MAIL", b"RSET") else self._rcpt
                self._writer.write(b"503 5.5.1 RCPT first\r\n" if verb == b"DATA" else b"250 2.0.0 ok\r\n")

    def _take_rcpt(self, line: bytes) -> None:
        rcpt = line.partition(b"<")[2].partition(b">")[0].decode("utf-8", "replace")
        self._fate = self._relay.fate(rcpt)
        refusals = {"gone": (550, "5.1.1 no such user"), "full": (452, "4.3.1 insufficient system storage")}
        if self._fate in refusals:
            code, text = refusals[self._fate]
            self._relay.write_down("rcpt", rcpt, code, text=text)
            self._writer.write(f"{code} {text}\r\n".encode())
            self._rcpt = ""
        else:
            self._rcpt = rcpt
            self._writer.write(b"250 2.1.5 ok\r\n")

    async def _end(self, body: bytes) -> bool:
        """The end of a mail. False when the connection is over."""
        rcpt, self._rcpt = self._rcpt, ""
        head = body[:8192].lower()
        at = head.find(b"\nmessage-id:")
        message_id = body[at + 12 : body.find(b"\n", at + 12)].strip().decode("ascii", "replace") if at >= 0 else ""
        if self._delay_s or self._fate == "slow":
            await asyncio.sleep(self._delay_s or 0.1)
        if self._fate == "cut":
            # Taken or not, nobody learns it: the very case that the ledger calls doubt.
            self._relay.write_down("body", rcpt, 0, message_id)
            self._writer.transport.abort()
            return False
        if self._fate == "mixed":
            self._relay.write_down("body", rcpt, 0, message_id)
            self._writer.write(b"250-2.0.0 taken\r\n451 4.3.0 later\r\n")
            return True
        code, text = (451, "4.4.2 later") if self._fate == "later" else (250, "2.0.0 taken")
        self._relay.write_down("body", rcpt, code, message_id, text)
        self._writer.write(f"{code} {text}\r\n".encode())
        if self._fate == "bye":
            self._writer.write(b"421 4.4.2 enough for today\r\n")
            return False
        return True


async def _run(log: Path, seed: int, plan: dict[str, float], delay_s: float, without: str) -> None:
    server = await asyncio.start_server(
        LabRelay(log, seed, plan, delay_s, without).serve, "127.0.0.1", 0, limit=1 << 22
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plan", type=json.loads, default={})
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--without", default="", help="an extension that is not announced")
    given = parser.parse_args()
    asyncio.run(_run(given.log, given.seed, given.plan, given.delay, given.without))
