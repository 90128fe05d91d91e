"""Which readers were met already, in sixteen octets each: a million of them must not fill a small machine. Pure."""

from array import array

_FIRST_SLOTS = 1 << 12


class Hashes:
    """A set of keyed hashes, of which the first eight octets are kept in one flat table.

    Three million share their eight octets with another by a chance of one in four million.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _FIRST_SLOTS))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, hashed: bytes) -> bool:
        return self._slots[self._place(_number(hashed))] != 0

    def add(self, hashed: bytes) -> bool:
        """Put it in; False when it was there."""
        number = _number(hashed)
        place = self._place(number)
        if self._slots[place]:
            return False
        self._slots[place] = number
        self._count += 1
        if self._count * 3 > len(self._slots) * 2:
            self._grow()
        return True

    def _place(self, number: int) -> int:
        """The slot of this number, or the free one where it belongs."""
        slots, mask = self._slots, len(self._slots) - 1
        place = number & mask
        while (there := slots[place]) and there != number:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        before = self._slots
        self._slots = array("Q", bytes(16 * len(before)))
        for number in before:
            if number:
                self._slots[self._place(number)] = number


def _number(hashed: bytes) -> int:
    return int.from_bytes(hashed[:8], "little") or 1  # nought marks a free slot
