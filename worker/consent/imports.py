"""Imports: a file of readers becomes subscriptions of one publication, with the evidence that they asked.

An import never brings back a reader who opted out, nor an address that is suppressed, nor one of whom the file itself
says that they left or never confirmed; it counts them as kept out.
Pages are committed as they come: a kill leaves whole pages, and importing the same file again goes on from there.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from worker import clock
from worker.consent import csv_file, optout, rejects, source
from worker.consent.dates import DateOrder
from worker.consent.hashes import Hashes
from worker.consent.headings import Columns, read_header
from worker.consent.how import AS_IT_SAYS, How
from worker.consent.import_rows import RowError, read_cell, read_consent, read_row
from worker.consent.leavers import Standing, judge
from worker.consent.rejects import Reject, Words
from worker.domain.address import Address
from worker.domain.subscriber import ImportRow
from worker.errors import Trouble
from worker.storage import acts, publications
from worker.storage.engine import Database
from worker.storage.people import imports
from worker.storage.people.imports import ImportBatch, PageCounts
from worker.tokens import instance_hash

WRITE_DUTY = 0.3
"""SQLite has one writer: the other 70 % of the time are for opt-outs and the sending."""

MAX_EXAMPLES = 20  # rejected rows told with the result: a screenful; the file of rejects has all
MAX_REASONS = 50  # told apart, the rest counted as _OTHER: a reason can name a value of the file

Progress = Callable[[int, int | None], None]

MAX_PAGE_CHARS = 1 << 22  # a page of rows with a hundred long values each would take gigabytes

MAX_LINES = 20  # lines told for each kind of fold: where to look, not all of them

_OTHER = Trouble("row.other")
_COUNTED = (
    "read", *PageCounts.__dataclass_fields__, "kept_out_left", "kept_out_unconfirmed", "duplicates_in_file", "rejected",
)  # fmt: skip


@dataclass(frozen=True)
class ImportResult:
    """What became of a file. `read` = added + already + all kept_out + duplicates_in_file + rejected, always."""

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
    kept_out_left: int = 0
    """Of whom the file says that they left, were blocked, deleted or cleaned."""
    kept_out_unconfirmed: int = 0
    """Of whom it says that they never confirmed."""
    duplicates_in_file: int = 0
    rejected: int = 0
    opted_out: int = 0
    """Of those who left, whom this import put onto the do-not-mail list."""
    revived: int = 0
    """Opt-outs brought back: never any."""
    reasons: Mapping[Trouble, int] = field(default_factory=dict)
    """Why rows were rejected, and how many for each."""
    folds: Mapping[str, int] = field(default_factory=dict)
    """Rows whose value was folded or emptied: blanks, wrapped, nothing, unseen, cut, date, language and so on."""
    fold_lines: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """For each fold the first lines it was needed on."""
    left_by: Mapping[str, int] = field(default_factory=dict)
    """Rows kept out, by the heading of the column that said so."""
    columns: Columns | None = None
    file: csv_file.CsvFile | None = None
    examples: tuple[Reject, ...] = ()

    @property
    def adds_up(self) -> bool:
        kept_out = self.kept_out_opted_out + self.kept_out_suppressed + self.kept_out_left + self.kept_out_unconfirmed
        return self.read == self.added + self.already + kept_out + self.duplicates_in_file + self.rejected

    def as_dict(self, words: Words) -> dict[str, Any]:
        """For --json, under the stable names."""
        reasons = {words(reason): count for reason, count in self.reasons.items()}
        examples = [{"line": one.line, "value": one.value, "reason": words(one.reason)} for one in self.examples]
        plain = {name: value for name, value in vars(self).items() if name not in ("columns", "file")}
        if self.columns is not None:
            plain["program"] = self.columns.program
            plain["recognised"] = dict(self.columns.known_by)
            plain["renamed"] = dict(self.columns.renamed)
            plain["left_out"] = list(self.columns.left_out)
            plain["left_columns"] = [column.heading for column in self.columns.left]
        folds = {"folds": dict(self.folds), "fold_lines": dict(self.fold_lines), "left_by": dict(self.left_by)}
        return {**plain, **folds, "reasons": reasons, "examples": examples}


def import_subscribers(
    database: Database,
    publication: str,
    path: Path,
    *,
    consent: str,
    actor: str,
    state_dir: Path,
    how: How = AS_IT_SAYS,
    dry_run: bool = False,
    rejects_path: Path | None = None,
    words: Words = str,
    progress: Progress | None = None,
    page_size: int | None = None,
    wait_s: float = 0.0,
) -> ImportResult:
    """Import a CSV file, or "-" for standard input, into the publication with this slug.

    `progress` is called with (rows read, rows in all) after each page of `page_size` rows and every 1,000 rows;
    `words` says in the file of rejected rows why each was; `wait_s` bounds the wait for copies to who left.

    Everything that can be wrong with the file as a whole is found before the first change: raises NotFoundError or
    UsageError then. A dry run does all of it and takes it back, page by page.

    1. Read consent, publication, the whole file once (survey), its headings, and whom it says to have left.
    2. Put those who left onto the do-not-mail list, if that is wanted: first, so that a kill costs no no.
    3. Read row by row: a bad one is rejected and written down, a good one joins the page.
    4. Merge full pages in a thread beside the reading, each in one transaction.
    5. Wait for the last page and return what became of all rows.
    """
    text, consented = read_consent(consent, clock.utcnow())
    with database.read() as conn:
        target = publications.get_publication(conn, publication)
    with source.opened(path) as opened:
        file = csv_file.survey(opened.path, how.encoding, escape=how.escape, name=opened.name)
        columns = read_header(file.header, how.mapping, how.left, file.sample, how.not_left)
        writer = _Writer(database, target.id, opened.name, text, actor, dry_run)
        with (
            rejects.writing(rejects_path, opened.path, words, file.header) as write,
            ThreadPoolExecutor(max_workers=1) as beside,
        ):
            pepper = database.instance().address_key
            run = _Import(writer, beside, write, page_size or imports.PAGE[database.dialect], progress, file, columns)
            run.note_leavers(pepper)
            if how.left and not dry_run:
                gone = (address for address, said in find_leavers(file, columns) if said is Standing.LEFT)
                evidence = f"left, says {opened.name}"[:200]
                run.opted_out = optout.suppress(
                    database, gone, evidence=evidence, actor=actor, state_dir=state_dir, wait_s=wait_s
                ).added
            run.read_all(pepper, consented, how.dates)
            return run.finish()


def find_leavers(file: csv_file.CsvFile, columns: Columns) -> Iterator[tuple[Address, Standing]]:
    """Whom a row of the file says to have left, or never to have confirmed; rows without an address are left out."""
    for _, cells in csv_file.rows(file) if columns.left else ():
        if isinstance(cells, csv_file.Broken) or columns.email >= len(cells):
            continue
        said, _ = judge(cells, columns.left)
        if said in (Standing.LEFT, Standing.UNCONFIRMED):
            try:
                yield read_cell(cells[columns.email]), said
            except RowError:
                continue


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
    write_reject: Callable[[Reject], object]
    page_size: int
    progress: Progress | None
    file: csv_file.CsvFile
    columns: Columns
    read: int = 0
    opted_out: int = 0
    folds: Counter[str] = field(default_factory=Counter)
    fold_lines: dict[str, list[int]] = field(default_factory=dict)
    left_by: Counter[str] = field(default_factory=Counter)
    page: list[ImportRow] = field(default_factory=list)
    page_chars: int = 0
    merging: Future[Counter[str]] | None = None
    merged: Counter[str] = field(default_factory=Counter)
    seen: Hashes = field(default_factory=Hashes)
    gone: Hashes = field(default_factory=Hashes)
    unconfirmed: Hashes = field(default_factory=Hashes)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[Trouble] = field(default_factory=Counter)
    examples: list[Reject] = field(default_factory=list)

    def note_leavers(self, pepper: bytes) -> None:
        """Ask all rows before the first reader comes in: the one that says no may stand below the one that says yes."""
        for address, said in find_leavers(self.file, self.columns):
            (self.gone if said is Standing.LEFT else self.unconfirmed).add(instance_hash(pepper, address.key))

    def read_all(self, pepper: bytes, consented: datetime | None, dates: DateOrder | None) -> None:
        """Every row into a page, or to where it is kept out."""
        columns, now = self.columns, clock.utcnow()
        folds: Counter[str] = Counter()
        for line, cells in csv_file.rows(self.file):
            self.read += 1
            if isinstance(cells, csv_file.Broken):
                self.reject(Reject(line, cells.text[:320], cells.reason))
                continue
            said = self._ask(cells, folds) if columns.left else Standing.IN
            try:
                row = None if said is Standing.LEFT else read_row(cells, columns, pepper, consented, now, folds, dates)
            except RowError as error:
                value = cells[columns.email] if columns.email < len(cells) else ""
                self.reject(Reject(line, value[:320], error.trouble, cells))
            else:
                self.take(row, said)
            if folds:
                self.fold(line, folds)
            if self.read % 1_000 == 0:
                self.tell()

    def _ask(self, cells: Sequence[str], folds: Counter[str]) -> Standing:
        """What the row says about its reader; a no is counted for the column that says it."""
        said, heading = judge(cells, self.columns.left)
        if said is Standing.UNKNOWN:
            folds["status"] += 1
        elif said is not Standing.IN:
            self.left_by[heading] += 1
        return said

    def fold(self, line: int, folds: Counter[str]) -> None:
        """Count what a row needed, and clear it for the next one."""
        for fold in folds:
            lines = self.fold_lines.setdefault(fold, [])
            if len(lines) < MAX_LINES:
                lines.append(line)
        self.folds += folds
        folds.clear()

    def reject(self, row: Reject) -> None:
        self.counts["rejected"] += 1
        is_shown = row.reason in self.reasons or len(self.reasons) < MAX_REASONS
        self.reasons[row.reason if is_shown else _OTHER] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(row)
        self.write_reject(row)

    def take(self, row: ImportRow | None, said: Standing) -> None:
        """A row that can be read, or None for one that says no itself."""
        if row is None or said is Standing.LEFT or (self.gone and row.address_hash in self.gone):
            self.counts["kept_out_left"] += 1
            return
        if said is Standing.UNCONFIRMED or (self.unconfirmed and row.address_hash in self.unconfirmed):
            self.counts["kept_out_unconfirmed"] += 1
            return
        if not self.seen.add(row.address_hash):
            self.counts["duplicates_in_file"] += 1
            return
        if len(self.page) >= self.page_size or self.page_chars > MAX_PAGE_CHARS:
            self._merge()
        self.page.append(row)
        self.page_chars += len(row.attributes)

    def tell(self) -> None:
        if self.progress is not None:
            self.progress(self.read, self.file.rows)

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
            fold_lines=self.fold_lines,
            left_by=dict(self.left_by.most_common()),
            opted_out=self.opted_out,
            columns=self.columns,
            file=self.file,
            examples=tuple(self.examples),
        )

    def _merge(self) -> None:
        self._await_page()
        self.merging = self.beside.submit(self.writer.merge, self.page, self.merged + self._snapshot())
        self.page, self.page_chars = [], 0

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
    return {name: counts[name] for name in _COUNTED}


def _rest_s(database: Database, busy_s: float) -> float:
    return busy_s * (1 - WRITE_DUTY) / WRITE_DUTY if database.dialect == "sqlite" else 0.0
