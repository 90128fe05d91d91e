"""An issue and its surroundings → findings, worst first. Pure.

The catalogue by number: 1xx the mail as a whole, 2xx pictures, 3xx links, 4xx sender and subject, 5xx variables,
8xx leftovers. A waiver (`lint: {allow, why}`) turns a finding into a note; findings that protect readers cannot be
waived.
"""

from dataclasses import replace
from itertools import islice

from worker.compose import rules_mail, rules_source, rules_targets, rules_words
from worker.compose.compile import compile_issue
from worker.compose.findings import NOTE, Finding, Level, LintFacts, structural
from worker.domain.compiled import CompiledIssue
from worker.domain.issue import IssueText
from worker.errors import Trouble, UsageError

__all__ = ["Finding", "LintFacts", "lint"]

_ON_SOURCE = (
    rules_words.check_subject,
    rules_words.check_preheader,
    rules_words.check_shouting,
    rules_words.check_variables,
    rules_words.check_leftovers,
    rules_source.check_source,
    rules_source.check_blocks,
    rules_targets.check_pictures,
    rules_targets.check_weight,
    rules_targets.check_files,
    rules_targets.check_links,
    rules_mail.check_sender,
    rules_mail.check_slug,
)
_ON_RESULT = (
    rules_mail.check_size,
    rules_mail.check_text_part,
    rules_mail.check_language,
    rules_mail.check_footer,
    rules_mail.check_odd_readers,
)
_ORDER = list(Level)


MOST_FINDINGS = 300
"""Of one level: who gets more has pasted something else than an issue."""


def lint(issue: IssueText, facts: LintFacts) -> list[Finding]:
    """Every finding, errors first, then by line; at most MOST_FINDINGS of a level."""
    findings = [structural(line, fault) for line, fault in issue.faults]
    findings += [finding for rule in _ON_SOURCE for finding in islice(rule(issue, facts), MOST_FINDINGS)]
    compiled = facts.compiled or _try_compile(issue, facts, findings)
    if compiled is not None:
        findings += [finding for rule in _ON_RESULT for finding in rule(issue, compiled)]
    # What was made of a line that could not be read is nothing an editor wrote.
    unread = {line: structural(line, fault) for line, fault in issue.faults if fault.code.startswith("yaml.")}
    sound = [each for each in dict.fromkeys(findings) if unread.get(each.line or 0, each).why == each.why]
    findings = [_waived(finding, issue) for finding in sound]
    findings.sort(key=lambda finding: (_ORDER.index(finding.level), finding.line or 0, finding.code))
    return [finding for level in Level for finding in [f for f in findings if f.level is level][:MOST_FINDINGS]]


def _try_compile(issue: IssueText, facts: LintFacts, findings: list[Finding]) -> CompiledIssue | None:
    try:
        return compile_issue(
            issue,
            facts.publication,
            base_url=facts.base_url,
            templates=facts.layouts,
            media=facts.media,
            view_url=f"{facts.base_url}/v/{'0' * 44}",
            boundary="lint",
        )
    except UsageError as error:
        if not any(f.code == 501 or (f.code == 208 and not f.waivable) for f in findings):
            line, problem = error.trouble.fields["line"], error.trouble.fields["problem"]
            findings.append(structural(line, problem))
        return None


def _waived(finding: Finding, issue: IssueText) -> Finding:
    if not finding.waivable or finding.level is NOTE or str(finding.code) not in issue.waived:
        return finding
    return replace(finding, level=NOTE, why=Trouble("finding.accepted", finding=finding.why, why=issue.waived_why))
