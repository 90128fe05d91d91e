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
        ("https://good@evil.example/", LinkFault.LOGIN),
        ("https://good.example:443@evil.example/", LinkFault.LOGIN),
        ("https://@evil.example/", LinkFault.LOGIN),
        ("https://0x7f.1/", LinkFault.NUMBER),
        ("https://2130706433/", LinkFault.NUMBER),
        ("https://0177.0.0.1/", LinkFault.NUMBER),
        ("https://127.1", LinkFault.NUMBER),
        ("https://1.2.3.0x4/", LinkFault.NUMBER),
        ("https://1.2.3.4.5/", LinkFault.NUMBER),
        ("https://93.184.216.34/", None),
        ("https://[::ffff:127.0.0.1]/", LinkFault.LOCAL),
        ("https://ex\u202eample.org/", LinkFault.UNSEEN),
        ("https://example.org/\u202egpj.exe", LinkFault.UNSEEN),
        ("https://example.org/%E2%80%AEgpj.exe", LinkFault.UNSEEN),
        ("https://exam\u200bple.org/", LinkFault.UNSEEN),
        ("\ufeffhttps://example.org/", LinkFault.UNSEEN),
        ("https://exam\u00adple.org/", LinkFault.UNSEEN),
        ("https://fa.example.org/%D9%85%DB%8C%E2%80%8C%D8%AE", None),
        ("mailto:a\u202e@example.org", LinkFault.UNSEEN),
        ("https://p\u0430ypal.example/", LinkFault.LOOKALIKE),
        ("https://xn--pypal-4ve.com/", LinkFault.LOOKALIKE),
        ("https://\u0430\u0440\u0440\u04cf\u0435.com/", LinkFault.LOOKALIKE),
        ("https://xn--80ak6aa92e.com/", LinkFault.LOOKALIKE),
        ("https://\u24d4xample.com/", LinkFault.LOOKALIKE),
        ("https://exa\uff4dple.com/", LinkFault.LOOKALIKE),
        ("https://m\u00fcller.example/", None),
        ("https://xn--mller-kva.example/", None),
        ("https://\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444/", None),
        ("https://xn--.com/", LinkFault.BROKEN),
        ("https://example..com/", LinkFault.BROKEN),
        ("https://-a.example/", LinkFault.BROKEN),
        ("https://ex%61mple.com/", LinkFault.BROKEN),
        ("https:/example.com", LinkFault.BROKEN),
        ("https:example.com", LinkFault.BROKEN),
        ("https:///example.com", LinkFault.BROKEN),
        ("\thttps://example.com", LinkFault.BROKEN),
        ("https://example.com/\x00", LinkFault.BROKEN),
        ("https://example.com/a\u00a0b", LinkFault.BROKEN),
        ("https://example.com/\ue000", LinkFault.BROKEN),
        ("vbscript:x", LinkFault.SCHEME),
        ("blob:https://example.com/x", LinkFault.SCHEME),
        ("mailto:?subject=For%20you", None),
        ("mailto:a@example.org,b@example.org?subject=x%0Ay", None),
        ("mailto:people", LinkFault.BROKEN),
        ("mailto:a@localhost", LinkFault.BROKEN),
        ("tel:", LinkFault.EMPTY),
        ("tel:*21*49301234%23", LinkFault.BROKEN),
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


@pytest.mark.parametrize("fault", LinkFault)
def test_every_fault_says_what_to_write_instead(fault: LinkFault) -> None:
    assert fault.remedy.startswith(("write", "type"))
