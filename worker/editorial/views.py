"""What readers look at on the web: an issue as it was compiled, a figure at its full size, a file. Reads only."""

from dataclasses import dataclass

from worker.domain.compiled import CompiledIssue
from worker.domain.publication import Publication
from worker.storage import media, publications, views
from worker.storage.engine import Database
from worker.storage.media import MediaFacts as HostedFile
from worker.storage.views import FigurePage

__all__ = ["Figure", "HostedFile", "find_file", "read_figure", "read_piece", "read_view"]


@dataclass(frozen=True)
class Figure:
    """A figure, and the publication in which it stood."""

    page: FigurePage
    publication: Publication


def read_view(database: Database, issue_id: int) -> str | None:
    """The HTML of an issue without any personal value. None when it was never queued."""
    with database.read() as conn:
        body = views.find_compiled(conn, issue_id)
    return None if body is None else CompiledIssue.from_json(body).view_html


def read_figure(database: Database, figure_id: str) -> Figure | None:
    """One figure, or None."""
    with database.read() as conn:
        page = views.find_figure(conn, figure_id)
        if page is None:
            return None
        return Figure(page, publications.get_publication_by_id(conn, page.publication_id))


def find_file(database: Database, sha256: str) -> HostedFile | None:
    """A picture or a hosted file by the hash of its content, without that content; or None."""
    with database.read() as conn:
        return media.find(conn, sha256)


def read_piece(database: Database, sha256: str, first: int, octets: int) -> bytes:
    """At most `octets` of a file's content from `first` on; each piece is a transaction of its own."""
    with database.read() as conn:
        return media.read_piece(conn, sha256, first, octets)
