"""Invented readers: names in eight languages and their scripts, addresses on reserved domains only. Pure.

RFC 2606 and 6761 reserve these domains, so that no address here is anybody's. A few local parts tell the sink to
refuse, to defer or to drop the line (see `sink.faults`).
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

PER = 200
BOUNCING, DEFERRING, DROPPING = 4, 3, 1
"""Of every PER readers so many bounce, defer, or drop the line."""

MAX_READERS = 200_000
CONSENT = "invented for the demo on 2026-01-15"


@dataclass(frozen=True)
class _People:
    """First and last names of one language, each as written and as in an address."""

    language: str
    domains: tuple[str, ...]
    first: tuple[tuple[str, str], ...]
    last: tuple[tuple[str, str], ...]
    family_first: bool = False
    joint: str = " "

    def name(self, number: int) -> tuple[str, str]:
        """(name, local part) of the reader with this number; numbers beyond the combinations repeat names."""
        first = self.first[number % len(self.first)]
        last = self.last[number // len(self.first) % len(self.last)]
        pair = (last, first) if self.family_first else (first, last)
        repeat = number // (len(self.first) * len(self.last))
        local = f"{first[1]}.{last[1]}" + (str(repeat + 1) if repeat else "")
        return self.joint.join(part[0] for part in pair), local


_ALL = (
    _People("en", ("example.org", "example.com", "harbour.example"),
        (("Ada", "ada"), ("Rowan", "rowan"), ("Imogen", "imogen"), ("Tobias", "tobias"), ("Nell", "nell")),
        (("Whitlock", "whitlock"), ("O’Dea", "odea"), ("Farrow", "farrow"), ("Pemberton-Okafor", "pemberton-okafor")),
    ),
    _People("fr", ("example.net", "phare.example"),
        (("Élodie", "elodie"), ("Maël", "mael"), ("Anaïs", "anais"), ("Benoît", "benoit"), ("Françoise", "francoise")),
        (("Lefèvre", "lefevre"), ("Garçon", "garcon"), ("d’Aubrac", "daubrac"), ("Noël", "noel")),
    ),
    _People("zh-Hans", ("example.com", "haiyang.test"),
        (("晓雯", "xiaowen"), ("子涵", "zihan"), ("建国", "jianguo"), ("明月", "mingyue"), ("思远", "siyuan")),
        (("王", "wang"), ("李", "li"), ("欧阳", "ouyang"), ("陈", "chen")),
        family_first=True, joint="",
    ),
    _People("ru", ("example.org", "mayak.test"),
        (("Наталья", "natalya"), ("Юрий", "yuri"), ("Светлана", "svetlana"), ("Пётр", "pyotr"), ("Ольга", "olga")),
        (("Щукин", "shchukin"), ("Ёлкина", "yolkina"), ("Жаров", "zharov"), ("Цветаев", "tsvetaev")),
    ),
    _People("ko", ("example.net", "bada.test"),
        (("서연", "seoyeon"), ("민준", "minjun"), ("지우", "jiwoo"), ("하은", "haeun"), ("도윤", "doyun")),
        (("김", "kim"), ("이", "lee"), ("박", "park"), ("최", "choi")),
        family_first=True, joint="",
    ),
    _People("hi", ("example.com", "sagar.example"),
        (("अनन्या", "ananya"), ("विक्रम", "vikram"), ("प्रिया", "priya"), ("अर्जुन", "arjun"), ("कविता", "kavita")),
        (("शर्मा", "sharma"), ("मिश्रा", "mishra"), ("चौधरी", "chaudhary"), ("त्रिपाठी", "tripathi")),
    ),
    _People("ja", ("example.org", "umi.test"),
        (("さくら", "sakura"), ("健太", "kenta"), ("美咲", "misaki"), ("翔太", "shota"), ("ゆかり", "yukari")),
        (("佐藤", "sato"), ("鈴木", "suzuki"), ("高橋", "takahashi"), ("渡邊", "watanabe")),
        family_first=True,
    ),
    _People("ar", ("example.net", "bahr.example"),
        (("ليلى", "layla"), ("يوسف", "yusuf"), ("مريم", "maryam"), ("عمر", "omar"), ("نور", "nour")),
        (("الحدّاد", "alhaddad"), ("منصور", "mansour"), ("البحري", "albahri"), ("درويش", "darwish")),
    ),
)  # fmt: skip

LANGUAGES = tuple(people.language for people in _ALL)


class Invented(NamedTuple):
    """One reader of the demo."""

    email: str
    name: str
    language: str


class Troubles(NamedTuple):
    """How many of a number of readers bounce, defer, or drop the line."""

    bounce: int
    defer: int
    drop: int


def count_troubles(number: int) -> Troubles:
    """The share of `number` readers, rounded."""
    return Troubles(*(round(number * share / PER) for share in (BOUNCING, DEFERRING, DROPPING)))


def _slow(number: int, seconds: float) -> Iterator[Invented]:
    for one in invent(number):
        email = one.email
        for fault in ("bounce-550.", "defer-451.", "drop."):
            email = email.removeprefix(fault)
        yield one._replace(email=f"slow+{seconds:g}.{email}")


def invent(number: int) -> Iterator[Invented]:
    """So many readers, the same ones every time, the difficult ones spread among them."""
    troubles = count_troubles(number)
    faults = ["bounce-550."] * troubles.bounce + ["defer-451."] * troubles.defer + ["drop."] * troubles.drop
    step = number // (len(faults) + 1) if faults else 0
    at = {(i + 1) * step: fault for i, fault in enumerate(faults)} if step else {}
    for i in range(number):
        people = _ALL[i % len(_ALL)]
        turn = i // len(_ALL)
        name, local = people.name(turn)
        domain = people.domains[turn % len(people.domains)]
        yield Invented(f"{at.get(i, '')}{local}@{domain}", name, people.language)


def as_csv(number: int, slow_s: float = 0.0) -> str:
    """The readers as a file for `subscriber import`; with `slow_s` none is difficult, and all are slow."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(Invented._fields)
    writer.writerows(_slow(number, slow_s) if slow_s else invent(number))
    return text.getvalue()
