"""Where links may point."""

import pytest

from worker.compose.links import Fault, is_loopback_url, is_remote_picture, judge_link


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("https://www.example.org/a?b=c#d", None),
        ("http://example.org", None),
        ("mailto:people@example.org", None),
        ("tel:+49301234", None),
        ("https://例え.test/道", None),
        ("", Fault.EMPTY),
        ("  ", Fault.EMPTY),
        ("mailto:", Fault.EMPTY),
        ("/news", Fault.RELATIVE),
        ("news.html", Fault.RELATIVE),
        ("#top", Fault.RELATIVE),
        ("//evil.example", Fault.RELATIVE),
        ("javascript:alert(1)", Fault.SCHEME),
        ("JaVaScRiPt:alert(1)", Fault.SCHEME),
        ("data:text/html,x", Fault.SCHEME),
        ("file:///etc/passwd", Fault.SCHEME),
        ("java\tscript:alert(1)", Fault.BROKEN),
        ("https:\\\\evil.example", Fault.BROKEN),
        ("https://", Fault.BROKEN),
        ("https://a b", Fault.BROKEN),
        ("https://example.org:99999/", Fault.BROKEN),
        ("https://[::1", Fault.BROKEN),
        ("http://localhost:8000/", Fault.LOCAL),
        ("http://staging/", Fault.LOCAL),
        ("http://127.0.0.1/", Fault.LOCAL),
        ("http://10.1.2.3/", Fault.LOCAL),
        ("http://[::1]/", Fault.LOCAL),
        ("http://printer.local/", Fault.LOCAL),
        ("http://a.localhost/", Fault.LOCAL),
        ("https://staging.example.org/", Fault.STAGING),
        ("https://www.Stage.example.co.uk/", Fault.STAGING),
        ("https://preprod.example.org./a", Fault.STAGING),
        ("https://a.staging.example.org:8443/", Fault.STAGING),
        ("https://dev.example.org", None),
        ("https://test.example.org", None),
        ("https://web.dev/", None),
        ("https://dev.to/", None),
        ("https://test.co.uk/", None),
        ("https://latest.example.org/dev/preview", None),
    ],
)
def test_link_is_judged(target: str, fault: Fault | None) -> None:
    assert judge_link(target) is fault


def test_loopback_is_recognised() -> None:
    assert is_loopback_url("http://127.0.0.1:8025")
    assert is_loopback_url("http://localhost")
    assert not is_loopback_url("https://example.org")


@pytest.mark.parametrize(
    "src", ["http://a/b.png", "https://a/b.png", "data:image/png;base64,x", "//a/b.png", "/etc/x.png"]
)
def test_picture_elsewhere_is_recognised(src: str) -> None:
    assert is_remote_picture(src)


def test_picture_beside_the_issue_is_local() -> None:
    assert not is_remote_picture("media/2026-11/a:b.png")
