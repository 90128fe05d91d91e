"""The set of readers met already: it answers as a set does, in sixteen octets each."""

from hypothesis import given
from hypothesis import strategies as st

from worker.consent.hashes import Hashes

# Few starts and many ends: different numbers that begin at the same slot.
_HASHES = st.builds(lambda start, end: bytes([start, 0, 0, 0, end]) + bytes(27), st.integers(2, 4), st.integers(0, 40))


@given(st.lists(_HASHES))
def test_it_answers_like_a_set(hashes: list[bytes]) -> None:
    known, expected = Hashes(), set[bytes]()
    for one in hashes:
        assert (one in known) == (one in expected)
        assert known.add(one) == (one not in expected)
        expected.add(one)
    assert len(known) == len(expected)


def test_it_grows_and_forgets_nobody() -> None:
    known = Hashes()
    hashes = [number.to_bytes(8, "little") + bytes(24) for number in range(1, 12_001)]
    assert all(known.add(one) for one in hashes)
    assert all(one in known for one in hashes)
    assert not any(known.add(one) for one in hashes)
    assert len(known) == 12_000
    assert (12_001).to_bytes(8, "little") + bytes(24) not in known


def test_only_the_first_eight_octets_count() -> None:
    known = Hashes()
    assert known.add(b"12345678" + b"a" * 24)
    assert not known.add(b"12345678" + b"b" * 24)


def test_nought_is_a_hash_like_others() -> None:
    known = Hashes()
    assert bytes(32) not in known
    assert known.add(bytes(32))
    assert bytes(32) in known
    assert not known.add(bytes(32))
