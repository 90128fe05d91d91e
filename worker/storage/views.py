"""What readers look at on the web: an issue as it was compiled, and its figures at addresses of their own."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from worker.storage.schema import compiled_issue, issue, media
from worker.storage.schema import figure as table


@dataclass(frozen=True)
class FigurePage:
    """What the page of one figure shows. `media` is `{sha256}.{ext}`; sizes in pixels, None when unknown."""

    id: str
    issue_id: int
    publication_id: int
    subject: str
    media: str
    alt: str
    caption: str
    credit: str
    width: int | None
    height: int | None


def find_figure(conn: Connection, figure_id: str) -> FigurePage | None:
    """The figure with this id, or None."""
    row = conn.execute(
        select(
            table.c.id,
            table.c.issue_id,
            issue.c.publication_id,
            issue.c.subject,
            table.c.media,
            table.c.alt,
            table.c.caption,
            table.c.credit,
        )
        .join(issue, issue.c.id == table.c.issue_id)
        .where(table.c.id == figure_id)
    ).one_or_none()
    if row is None:
        return None
    width, height = find_size(conn, row.media)
    return FigurePage(**row._mapping, width=width, height=height)


def find_size(conn: Connection, name: str) -> tuple[int | None, int | None]:
    """Width and height in pixels of a hosted picture by its name, `{sha256}.{ext}`; None where unknown."""
    size = conn.execute(
        select(media.c.width, media.c.height).where(media.c.sha256 == name.partition(".")[0])
    ).one_or_none()
    return (None, None) if size is None else (size.width, size.height)


def find_compiled(conn: Connection, issue_id: int) -> str | None:
    """The CompiledIssue's JSON of an issue, or None when it was never queued."""
    body: str | None = conn.scalar(select(compiled_issue.c.body).where(compiled_issue.c.issue_id == issue_id))
    return body
