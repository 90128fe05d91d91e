"""Where links may point."""

import pytest

from worker.compose.links import LinkFault, is_remote_picture, judge_link


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("https://www.example.org/a?b=c#d", None),
        ("http://example.org", None),
        ("mailto:people@example.org", None),
        ("tel:+49301234", None),
        ("https://例え.test/道", None),
        ("", LinkFault.EMPTY),
        ("  ", LinkFault.EMPTY),
        ("mailto:", LinkFault.EMPTY),
        ("/news", LinkFault.RELATIVE),
        ("news.html", LinkFault.RELATIVE),
        ("#top", LinkFault.RELATIVE),
        ("//evil.example", LinkFault.RELATIVE),
        ("javascript:alert(1)", LinkFault.SCHEME),
        ("JaVaScRiPt:alert(1)", LinkFault.SCHEME),
        ("data:text/html,x", LinkFault.SCHEME),
        ("file:///etc/passwd", LinkFault.SCHEME),
        ("java\tscript:alert(1)", LinkFault.BROKEN),
        ("https:\\\\evil.example", LinkFault.BROKEN),
        ("https://example.org\\@evil.example/", LinkFault.BROKEN),
        ("https://example.org/a\\b", LinkFault.BROKEN),
        ("https://", LinkFault.BROKEN),
        ("https://a b", LinkFault.BROKEN),
        ("https://example.org:99999/", LinkFault.BROKEN),
        ("https://[::1", LinkFault.BROKEN),
        ("http://localhost:8000/", LinkFault.LOCAL),
        ("http://staging/", LinkFault.LOCAL),
        ("http://127.0.0.1/", LinkFault.LOCAL),
        ("http://10.1.2.3/", LinkFault.LOCAL),
        ("http://[::1]/", LinkFault.LOCAL),
        ("http://printer.local/", LinkFault.LOCAL),
        ("http://a.localhost/", LinkFault.LOCAL),
        ("https://staging.example.org/", LinkFault.STAGING),
        ("https://www.Stage.example.co.uk/", LinkFault.STAGING),
        ("https://preprod.example.org./a", LinkFault.STAGING),
        ("https://a.staging.example.org:8443/", LinkFault.STAGING),
        ("https://dev.example.org", None),
        ("https://test.example.org", None),
        ("https://web.dev/", None),
        ("https://dev.to/", None),
        ("https://test.co.uk/", None),
        ("https://latest.example.org/dev/preview", None),
    ],
)
def test_link_is_judged(target: str, fault: LinkFault | None) -> None:
    assert judge_link(target) is fault


@pytest.mark.parametrize(
    "src", ["http://a/b.png", "https://a/b.png", "data:image/png;base64,x", "//a/b.png", "/etc/x.png"]
)
def test_picture_elsewhere_is_recognised(src: str) -> None:
    assert is_remote_picture(src)


def test_picture_beside_the_issue_is_local() -> None:
    assert not is_remote_picture("media/2026-11/a:b.png")
