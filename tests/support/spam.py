"""SpamAssassin's opinion of a mail, without network tests."""

import re
import subprocess


def spam_score(message: bytes) -> tuple[float, str]:
    """The score, and the rules that made it for a failing assertion. Below 1.0 is our bound; 5.0 is its own."""
    ran = subprocess.run(["spamassassin", "-L", "-t"], input=message, capture_output=True, timeout=120)
    report = ran.stdout.decode("utf-8", "replace")
    found = re.search(r"^X-Spam-Status: .*?score=(-?[0-9.]+)", report, re.MULTILINE | re.DOTALL)
    assert found, (report[:2000], ran.stderr[:2000])
    rules = re.search(r"^ ?pts rule name.*", report, re.MULTILINE | re.DOTALL)
    return float(found[1]), rules[0] if rules else report
