"""A worker's clock that goes wrong while it runs."""

from pathlib import Path

from tests.lab.clocks import JUMPING, set_offset
from tests.support.lists import newsroom
from worker.domain.issue import IssueState
from worker.operations.status import collect


def test_a_worker_whose_clock_differs_sends_nothing_says_so_and_goes_on_when_it_is_right(
    tmp_path: Path, postgresql_url: str
) -> None:
    # Given a worker that is ready, and a clock that is then six minutes off the database's
    offset = tmp_path / "offset"
    set_offset(offset, 0.0)
    with newsroom(tmp_path, postgresql_url) as desk, desk.worker(JUMPING.format(file=str(offset))) as worker:
        desk.readers(3)
        set_offset(offset, 360.0)

        def notes() -> list[str]:
            return [note.code for each in collect(desk.settings, desk.database).processes if (note := each.note)]

        desk.until(lambda: "clock.differs" in notes(), "the worker says that its clock is wrong")

        # When an issue is queued, its hold ends and it is nudged again and again
        desk.queue()
        desk.until_state(IssueState.SENDING)
        desk.until(lambda: desk.issue().nudge_no >= 2, "it was nudged in vain")
        copies = desk.copies()
        set_offset(offset, 0.0)

        # Then nothing left before the clock was right
        desk.until_state(IssueState.FINISHED)
        assert copies == {}
        assert len(desk.copies()) == 3
        assert "nothing is sent while the clocks differ" in worker.said
        assert "the clocks agree again" in worker.said
