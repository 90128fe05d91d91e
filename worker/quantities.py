"""Numbers and spans of time in words, the same on every screen. Pure."""


def spell_number(number: int) -> str:
    """12480 → 12,480."""
    return f"{number:,}"


def spell_span(seconds: float) -> str:
    """A duration in at most two units: 42 s, 1 min 5 s, 17 h 4 min, 3 d 2 h."""
    left = max(0, round(seconds))
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    for i, (name, size) in enumerate(units):
        if left >= size:
            first = f"{left // size} {name}"
            rest = left % size
            if i + 1 < len(units) and (second := rest // units[i + 1][1]):
                return f"{first} {second} {units[i + 1][0]}"
            return first
    return "0 s"


def count(number: int, one: str, many: str | None = None) -> str:
    """1 person, 12,480 people: the number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
