"""The tree of errors a person may read. Each carries the exit code of the command that meets it.

An error here is a broken promise or a refused wish, said in one sentence that names the thing, the value and the
remedy. SMTP trouble and bounces are values (`transport.replies.Outcome`), never exceptions.
Exit codes: 1 failed, 2 wrong usage, 3 an issue file to mend, 4 refused, 5 a dependency is unreachable, 6 finished
with problems.
"""


class CorrantoError(Exception):
    """Raised when something a person asked for did not happen."""

    exit_code = 1


class UsageError(CorrantoError):
    """Raised when a value given on the command line, in a file or in a setting cannot be used."""

    exit_code = 2


class SettingsError(UsageError):
    """Raised when settings are wrong; carries every problem found, not only the first."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class NotFoundError(UsageError):
    """Raised when a named publication, issue, subscriber or file does not exist."""


class IssueFileError(UsageError):
    """Raised when an issue file cannot be read as an issue: it has to be mended, as after a finding that blocks."""

    exit_code = 3


class LintError(CorrantoError):
    """Raised when an issue's text has findings that block queueing."""

    exit_code = 3


class RefusedError(CorrantoError):
    """Raised when a wish is understood but not allowed now: empty audience, file queued twice, wrong state."""

    exit_code = 4


class UnreachableError(CorrantoError):
    """Raised when a dependency (database, broker, relay) does not answer, or answers as something else."""

    exit_code = 5


class SchemaError(UnreachableError):
    """Raised when the database's schema is older or newer than this version can work with."""
