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


def spam_points(rules: str) -> dict[str, float]:
    """{rule: points} from the report that `spam_score` returns."""
    return {name: float(points) for points, name in re.findall(r"^ *(-?[0-9.]+) +([A-Z0-9_]{3,})", rules, re.MULTILINE)}
