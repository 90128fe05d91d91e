"""What readers receive: both samples through a real Postfix, read, verified, crawled and left again at its far side."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.far_side import BOUNCES, DOMAIN, SELECTOR, FarSide, Received, far_side
from tests.support.issues import MEMBERS, STATEMENT
from tests.support.mails import check_lines
from tests.support.postfix import postfix_servers
from tests.support.receivers import dkimpy_verifies, mail_dkim_results
from tests.support.spam import spam_score

pytestmark = pytest.mark.needs("postfix")

SAMPLES = (MEMBERS, STATEMENT)
PLAIN = [(f"reader{n}@example.org", f"Reader {n}") for n in range(1, 11)]
READERS = PLAIN


@pytest.fixture(scope="module")
def far(run_folder: Path, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarSide]:
    """Both samples, sent and arrived."""
    folder = tmp_path_factory.mktemp("far")
    url = f"sqlite:///{shutil.copy(sqlite_template, folder / 'corranto.sqlite3')}"
    with postfix_servers(run_folder) as start, far_side(folder, url, start) as made:
        made.publish("ring-news", READERS)
        made.publish("ring-statements", READERS)
        made.send(*SAMPLES)
        yield made


@pytest.fixture(params=SAMPLES, ids=["members", "statement"])
def sample(request: pytest.FixtureRequest, far: FarSide) -> dict[str, Received]:
    """{address: mail} of one of the samples."""
    return far.received(request.param.stem)


def test_every_copy_is_accepted_and_arrives_once(far: FarSide) -> None:
    for path in SAMPLES:
        totals = far.desk.totals(path.stem)
        assert totals.adds_up
        assert (totals.audience, totals.accepted) == (len(READERS), len(READERS))
        assert len(far.received(path.stem)) == len(READERS)
    assert len(far.everything()) == 2 * len(READERS)
    far.desk.assert_books_add_up()


def test_the_return_path_names_the_delivery(far: FarSide) -> None:
    for path, mailbox in zip(SAMPLES, ("bounces@" + DOMAIN, BOUNCES), strict=True):
        issue = far.desk.issue(path.stem)
        rows = far.desk.rows(path.stem)
        for address, mail in far.received(path.stem).items():
            assert far.delivery_of(mail) == (issue.id, rows[address].n)
            local, _, domain = mail.mail_from.partition("@")
            assert f"{local.partition('+')[0]}@{domain}" == mailbox
            assert len(local) <= 64


@pytest.mark.needs("mail-dkim")
def test_two_verifiers_accept_every_signature(far: FarSide, sample: dict[str, Received], tmp_path: Path) -> None:
    mails = [mail.raw for mail in sample.values()]

    assert [dkimpy_verifies(raw, SELECTOR, DOMAIN, far.dkim_record) for raw in mails] == [True] * len(mails)
    assert mail_dkim_results(mails, far.dkim_record, tmp_path) == ["pass"] * len(mails)


def test_the_one_click_pair_arrives_whole(sample: dict[str, Received]) -> None:
    for mail in sample.values():
        assert (
            len(re.findall(rb"^List-Unsubscribe: <https://[^>\s]+/u/[A-Za-z0-9_-]{44}>\r\n(?![ \t])", mail.head, re.M))
            == 1
        )
        assert mail.head.count(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n") == 1
        signed = re.search(rb"^DKIM-Signature:.*?\bh=([^;]+);", mail.head, re.M | re.S)
        assert signed
        names = re.sub(rb"\s", b"", signed[1]).lower().split(b":")
        assert {b"list-unsubscribe", b"list-unsubscribe-post"} <= set(names)


def test_lines_stay_within_every_bound(sample: dict[str, Received]) -> None:
    for mail in sample.values():
        check_lines(mail.raw)


@pytest.mark.needs("spamassassin")
def test_a_content_filter_finds_nothing_to_complain_of(sample: dict[str, Received]) -> None:
    score, rules = spam_score(next(iter(sample.values())).raw)

    assert score < 1.0, rules
