"""Imports: a file of readers becomes subscriptions of one publication, with the evidence that they asked.

An import never brings back a reader who opted out, nor an address that is suppressed; it counts them as kept out.
Pages are committed as they come: a kill leaves whole pages, and importing the same file again goes on from there.
"""

import csv
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from worker import clock
from worker.consent import csv_file
from worker.consent.import_rows import RowError, read_consent, read_header, read_row
from worker.domain.subscriber import ImportRow
from worker.errors import Trouble, UsageError
from worker.storage import acts, publications
from worker.storage.engine import Database
from worker.storage.people import imports
from worker.storage.people.imports import ImportBatch, PageCounts

WRITE_DUTY = 0.3
"""SQLite has one writer: the other 70 % of the time are for opt-outs and the sending."""

MAX_EXAMPLES = 20  # rejected rows told with the result: a screenful; the file of rejects has all
MAX_REASONS = 50  # told apart, the rest counted as _OTHER: a reason can name a value of the file

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""A spreadsheet runs a cell that begins with one of these, full-width forms included."""

Progress = Callable[[int, int | None], None]

Words = Callable[[Trouble], str]
"""How the caller's face says what is wrong with a row."""

_OTHER = Trouble("row.other")


@dataclass(frozen=True)
class Reject:
    """A row that was not imported: where it begins, its address as typed, and why."""

    line: int
    value: str
    reason: Trouble


@dataclass(frozen=True)
class ImportResult:
    """What became of a file. `read` = added + already + both kept_out + duplicates_in_file + rejected, always."""

    import_id: int | None
    """None for a dry run, and for a file without a usable row."""
    dry_run: bool
    read: int = 0
    added: int = 0
    already: int = 0
    updated: int = 0
    """Of those already there, whose name, language or attributes changed."""
    kept_out_opted_out: int = 0
    kept_out_suppressed: int = 0
    duplicates_in_file: int = 0
    rejected: int = 0
    revived: int = 0
    """Opt-outs brought back: never any."""
    reasons: Mapping[Trouble, int] = field(default_factory=dict)
    """Why rows were rejected, and how many for each."""
    folds: Mapping[str, int] = field(default_factory=dict)
    """Rows whose value was folded: blanks, domain_case, idna, local_case, line_breaks."""
    examples: tuple[Reject, ...] = ()

    @property
    def adds_up(self) -> bool:
        kept_out = self.kept_out_opted_out + self.kept_out_suppressed
        return self.read == self.added + self.already + kept_out + self.duplicates_in_file + self.rejected

    def as_dict(self, words: Words) -> dict[str, Any]:
        """For --json, under the stable names."""
        reasons = {words(reason): count for reason, count in self.reasons.items()}
        examples = [{"line": one.line, "value": one.value, "reason": words(one.reason)} for one in self.examples]
        return {**vars(self), "reasons": reasons, "folds": dict(self.folds), "examples": examples}


def import_subscribers(
    database: Database,
    publication: str,
    path: Path,
    *,
    consent: str,
    actor: str,
    mapping: Mapping[str, str] | None = None,
    encoding: str | None = None,
    dry_run: bool = False,
    rejects_path: Path | None = None,
    words: Words = str,
    progress: Progress | None = None,
    page_size: int | None = None,
) -> ImportResult:
    """Import a CSV file into the publication with this slug. `mapping` is variable → heading of the column.

    `progress` is called with (rows read, rows in all) after each page of `page_size` rows and every 1,000 rows;
    `words` says in the file of rejected rows why each was.

    Everything that can be wrong with the file as a whole is found before the first change: raises NotFoundError or
    UsageError then. A dry run does all of it and takes it back, page by page.

    1. Read consent, publication, the whole file once (survey) and its headings.
    2. Read row by row: a bad one is rejected and written down, a good one joins the page.
    3. Merge full pages in a thread beside the reading, each in one transaction.
    4. Wait for the last page and return what became of all rows.
    """
    text, consented = read_consent(consent, clock.utcnow())
    with database.read() as conn:
        target = publications.get_publication(conn, publication)
    file = csv_file.survey(path, encoding)
    columns = read_header(file.header, mapping or {})
    writer = _Writer(database, target.id, path.name, text, actor, dry_run)
    with _open_rejects(rejects_path, path, words) as rejects, ThreadPoolExecutor(max_workers=1) as beside:
        run = _Import(writer, beside, rejects, page_size or imports.PAGE[database.dialect], progress, file.rows)
        pepper, now = database.instance().address_key, clock.utcnow()
        for line, cells in csv_file.rows(file):
            run.read += 1
            try:
                row = read_row(cells, columns, pepper, consented, now, run.folds)
            except RowError as error:
                value = cells[columns.email] if columns.email < len(cells) else ""
                run.reject(Reject(line, value[:320], error.trouble))
            else:
                run.take(row)
            if run.read % 1_000 == 0:
                run.tell()
        return run.finish()


def list_imports(database: Database, publication: str | None = None) -> list[ImportBatch]:
    """The imports of one publication or of all, newest first. Raises NotFoundError."""
    with database.read() as conn:
        wanted = None if publication is None else publications.get_publication(conn, publication).id
        return imports.list_imports(conn, publication_id=wanted)


def get_import(database: Database, import_id: int) -> ImportBatch:
    """One import. Raises NotFoundError."""
    with database.read() as conn:
        return imports.get_import(conn, import_id)


def undo_import(database: Database, import_id: int, *, actor: str) -> int:
    """End the subscriptions that this import added and nobody touched since; returns how many.

    Raises NotFoundError, or RefusedError the second time. A killed undo can be repeated and goes on.
    """
    batch = get_import(database, import_id)
    ended, after = 0, 0
    while batch.undone_at is None:
        began = clock.monotonic()
        with database.write() as conn:
            count, last = imports.undo_page(conn, import_id, after)
        ended += count
        if last is None:
            break
        after = last
        time.sleep(_rest_s(database, clock.monotonic() - began))
    with database.write() as conn:
        imports.close_undone(conn, import_id, ended, actor=actor)
    return ended


@dataclass
class _Writer:
    """Merges page after page, and keeps SQLite's one place to write free for most of the time."""

    database: Database
    publication_id: int
    file_name: str
    consent: str
    actor: str
    dry_run: bool
    batch: int | None = None
    free_from: float = 0.0

    def merge(self, rows: list[ImportRow], counts: Counter[str]) -> Counter[str]:
        """Merge one page in one transaction; `counts` with what became of it."""
        time.sleep(max(0.0, self.free_from - clock.monotonic()))
        began = clock.monotonic()
        with self.database.write() as conn, conn.begin_nested() as page:
            batch = self.batch
            if batch is None:
                file_name = "".join(char if char.isprintable() else "�" for char in self.file_name)[:200]
                batch = imports.create_batch(conn, self.publication_id, file_name, self.consent, actor=self.actor)
            done = imports.merge_page(conn, batch, self.publication_id, self.consent, rows)
            after = counts + Counter(asdict(done))
            if self.dry_run:
                page.rollback()
            else:
                imports.note_counts(conn, batch, _as_counts(after))
                self.batch = batch
        self.free_from = clock.monotonic() + _rest_s(self.database, clock.monotonic() - began)
        return after

    def finish(self, counts: Mapping[str, int]) -> None:
        """Say that the file was read to its end."""
        if self.batch is None:
            return
        with self.database.write() as conn:
            imports.note_counts(conn, self.batch, {**counts, "finished": True})
            acts.record(conn, self.actor, "import.finish", f"import:{self.batch}", counts)
            imports.refresh_statistics(conn)
        self.database.checkpoint()


@dataclass
class _Import:
    """One run: collects rows into pages while the page before is merged beside, and counts what becomes of them."""

    writer: _Writer
    beside: Executor
    rejects: Callable[[Reject], object]
    page_size: int
    progress: Progress | None
    total: int
    read: int = 0
    folds: Counter[str] = field(default_factory=Counter)
    page: list[ImportRow] = field(default_factory=list)
    merging: Future[Counter[str]] | None = None
    merged: Counter[str] = field(default_factory=Counter)
    seen: set[bytes] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[Trouble] = field(default_factory=Counter)
    examples: list[Reject] = field(default_factory=list)

    def reject(self, row: Reject) -> None:
        self.counts["rejected"] += 1
        is_shown = row.reason in self.reasons or len(self.reasons) < MAX_REASONS
        self.reasons[row.reason if is_shown else _OTHER] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(row)
        self.rejects(row)

    def take(self, row: ImportRow) -> None:
        if row.address_hash in self.seen:
            self.counts["duplicates_in_file"] += 1
            return
        if len(self.page) >= self.page_size:
            self._merge()
        self.seen.add(row.address_hash)
        self.page.append(row)

    def tell(self) -> None:
        if self.progress is not None:
            self.progress(self.read, self.total)

    def finish(self) -> ImportResult:
        if self.page:
            self._merge()
        self._await_page()
        counts = _as_counts(self.merged + self._snapshot())
        self.writer.finish(counts)
        self.tell()
        return ImportResult(
            self.writer.batch,
            self.writer.dry_run,
            **counts,
            reasons=dict(self.reasons.most_common()),
            folds=dict(self.folds),
            examples=tuple(self.examples),
        )

    def _merge(self) -> None:
        self._await_page()
        self.merging = self.beside.submit(self.writer.merge, self.page, self.merged + self._snapshot())
        self.page = []

    def _await_page(self) -> None:
        """Wait for the page before: one at a time, so that a kill leaves whole pages, in the file's order."""
        if self.merging is None:
            return
        after = self.merging.result()
        self.merging = None
        self.merged = Counter({name: after[name] for name in PageCounts.__dataclass_fields__})
        self.tell()

    def _snapshot(self) -> Counter[str]:
        return Counter({**self.counts, "read": self.read})


def _as_counts(counts: Counter[str]) -> dict[str, int]:
    """The counts that an import's result and its batch have, zeros included."""
    return {name: counts[name] for name in ("read", *PageCounts.__dataclass_fields__, "duplicates_in_file", "rejected")}


def neutral_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: a leading sign gets an apostrophe before it."""
    return "'" + text if text.lstrip(" \u00a0").startswith(_FORMULA) or text.startswith(_FORMULA) else text


@contextmanager
def _open_rejects(path: Path | None, source: Path, words: Words) -> Iterator[Callable[[Reject], None]]:
    """Takes rejected rows into a CSV file; it holds addresses, so only its owner may read it."""
    if path is None:
        yield lambda row: None
        return
    try:
        if path.exists() and path.samefile(source):
            raise UsageError("rejects.is_source", file=path.name)
        file: IO[str] = os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline=""
        )
    except OSError as error:
        raise UsageError("rejects.unwritable", path=str(path), why=error.strerror) from error
    with file:
        writer = csv.writer(file)
        writer.writerow(["line", "value", "reason"])
        yield lambda row: writer.writerow([row.line, neutral_cell(row.value), neutral_cell(words(row.reason))])


def _rest_s(database: Database, busy_s: float) -> float:
    return busy_s * (1 - WRITE_DUTY) / WRITE_DUTY if database.dialect == "sqlite" else 0.0
