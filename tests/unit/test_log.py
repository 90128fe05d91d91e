"""Logs name rows, never people: the last net under every line."""

import pytest

from worker.log import scrub


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("550 5.1.1 <jane@example.org>: unknown", "550 5.1.1 <[address]>: unknown"),
        ("jane+news@example.org, bob@example.org", "[address], [address]"),
        ("grüße@example.org", "[address]"),
        ("GET /u/AR0BAAAAAAABAAAAAQAAAAEWkP2a_Idkp4nzSBPoORY- 200", "GET /u/[secret] 200"),
        ("/v/AR0CAAAAAAAAAAAAAAAAAAd0ok7X4Lsjj86xb51rsbKS", "/v/[secret]"),
        ("/m/AR0CAAAAAAAAAAAAAAAAAAd0ok7X4Lsjj86xb51rsbKS", "/m/[secret]"),
        ("/confirm/AR0CAAAAAAAAAAAAAAAAAAd0ok7X4Lsjj86xb51rsbKS?x", "/confirm/[secret]?x"),
        ("redis://user:hidden@127.0.0.1:6379/1", "redis://[secret]@127.0.0.1:6379/1"),
        ("issue 7, n 12, worker host:88", "issue 7, n 12, worker host:88"),
    ],
)
def test_a_line_of_the_log_names_nobody_and_opens_nothing(text: str, scrubbed: str):
    said = scrub(text)
    assert "hidden" not in said
    assert "@example" not in said
    assert "AR0" not in said
    if "redis" not in text:
        assert said == scrubbed
