"""The same dialogue inside TLS, where less can be seen of what has left."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_smtp import CLOSE, HANG, RESET, On, ScriptedRelay
from tests.transport.handing import AUTHORITY, FORMS, HASTY, Handed, hand, mails, relay_for, run, server_tls
from worker.transport.replies import Permanence


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


def _play(scenario: list[On], form: str, ca_file: str, *, implicit: bool = False) -> tuple[Handed, ScriptedRelay]:
    server = ScriptedRelay(scenario, (*FORMS[form], "STARTTLS"), tls=server_tls(), implicit_tls=implicit)
    how: dict[str, Any] = {"implicit_tls": True} if implicit else {"starttls": "required"}

    async def story() -> Handed:
        async with server:
            return await hand(relay_for(server, HASTY, connections=2, ca_file=ca_file, **how), mails(20))

    return run(story()), server


@pytest.mark.parametrize("implicit", [True, False], ids=["smtps", "starttls"])
@pytest.mark.parametrize("form", list(FORMS))
def test_every_mail_arrives_once_inside_tls(form: str, implicit: bool, ca_file: str):
    handed, server = _play([], form, ca_file, implicit=implicit)
    assert {outcome.permanence for outcome in handed.outcomes.values()} == {Permanence.ACCEPTED}
    assert len({taken.rcpt for taken in server.taken}) == len(server.taken) == 20


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("end", [CLOSE, RESET, HANG])
def test_a_line_lost_after_the_body_is_doubt_inside_tls_too(form: str, end: Any, ca_file: str):
    handed, _ = _play([On("body", end, line="r7@")], form, ca_file)
    assert [key for key, outcome in handed.outcomes.items() if outcome.permanence is Permanence.DOUBT] == [7]
    assert len(handed.outcomes) == 20


@pytest.mark.parametrize("end", [CLOSE, RESET, HANG], ids=["no close_notify", "reset", "silence"])
def test_a_relay_that_ends_tls_rudely_at_quit_changes_no_result(end: Any, ca_file: str):
    handed, server = _play([On("quit", end)], "overlapped", ca_file)
    assert {outcome.permanence for outcome in handed.outcomes.values()} == {Permanence.ACCEPTED}
    assert len(server.taken) == 20
