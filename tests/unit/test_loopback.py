"""One judgement of what is this machine alone."""

import pytest

from worker.loopback import is_loopback, is_loopback_url


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "demo.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]",
     "::ffff:127.0.0.1"],
)  # fmt: skip
def test_this_machine_is_known_by_all_its_names(host: str) -> None:
    assert is_loopback(host)
    assert is_loopback_url(f"http://{f'[{host}]' if host.startswith(':') else host}:8025/x")


@pytest.mark.parametrize(
    "host",
    ["", "example.org", "localhost.example.org", "notlocalhost", "0.0.0.0", "::", "127.1", "2130706433", "10.0.0.1",
     "::2", "::ffff:10.0.0.1", "127.0.0.1.example.org"],
)  # fmt: skip
def test_what_may_be_another_machine_is_not_this_one(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("url", ["", "x", "http://", "http://[::1", "https://news.example.org", "mailto:a@localhost"])
def test_a_url_without_this_machine_in_it_is_not_loopback(url: str) -> None:
    assert not is_loopback_url(url)
