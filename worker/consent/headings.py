"""Which column is what, by the headings that other programs and hands write. Pure.

Headings are compared without accents, capitals, blanks and signs. A column nobody asked for is kept as an attribute
under a name that a text can use, or left out; it is never a reason to refuse a file.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.consent.cells import unguarded
from worker.consent.leavers import LeftColumn, folded, kind_of, named_kind
from worker.domain.compiled import SYSTEM_VARIABLES
from worker.errors import Trouble, UsageError

MAX_ATTRIBUTES = 100  # what texts use of a person are a few; a CRM's export has hundreds
OWN = ("email", "name", "language", "consent_at")
RESERVED = frozenset(
    {"and", "or", "not", "in", "is", "if", "else", "elif", "for", "loop", "true", "false", "none", "self"}
)
"""Words that mean something inside a template, so no value can be called by them."""
REJECTS = ("line", "value", "reason")
"""What a file of rejected rows has before the columns of the file they came from."""
ATTRIBUTE = "attribute:"
"""Before a heading: it names an attribute, also where that name says elsewhere who left."""

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,39}")
_POSITION = re.compile(r"#[0-9]{1,5}")


def _set(words: str) -> frozenset[str]:
    return frozenset(folded(word) for word in words.split(","))


_EMAIL = _set(
    "email,e-mail,email address,e-mail addresses,mail,mail address,emailaddr,email id,subscriber email,user email,"
    "contact email,primary email,email_address1,email1,e-mail 1 - value,your email,your email address,email adress,"
    "emailadresse,e-mail-adresse,mailadresse,e-post,e-postadress,e-postadresse,epost adress,mejl,mejladress,"
    "adresse e-mail,adresse email,adresse mail,adresse de courriel,adresse de messagerie,adresse electronique,courriel,"
    "courrier electronique,correo,correo electronico,direccion de correo electronico,direccion de correo,"
    "direccion de email,indirizzo email,indirizzo e-mail,indirizzo mail,indirizzo di posta elettronica,"
    "posta elettronica,endereco de email,endereco de e-mail,endereco eletronico,correio eletronico,emailadres,"
    "e-mailadres,mailadres,adres email,adres e-mail,adres mailowy,emailova adresa,e-mailova adresa,e-mail cim,"
    "sahkoposti,sahkopostiosoite,e-posta,e-posta adresi,adresa de e-mail,адрес электронной почты,электронная почта,"
    "эл. почта,メールアドレス,电子邮件,电子邮件地址,電子郵件,이메일,이메일 주소"
)
_FIRST = _set(
    "first name,firstname,fname,first_name,given name,forename,vorname,prenom,nombre de pila,primer nombre,"
    "voornaam,nome proprio,primeiro nome,fornamn,fornavn,etunimi,imie,jmeno,first"
)
_LAST = _set(
    "last name,lastname,lname,last_name,surname,family name,nachname,familienname,zuname,nom de famille,apellido,"
    "apellidos,primer apellido,cognome,sobrenome,apelido,ultimo nome,achternaam,efternamn,etternavn,efternavn,sukunimi,"
    "nazwisko,prijmeni,last"
)
_NAME = _set(
    "name,full name,fullname,your name,display name,contact name,subscriber name,vollstandiger name,nom complet,"
    "nom et prenom,nombre completo,nombre y apellidos,nome completo,nome e cognome,volledige naam,naam,navn,namn,nimi"
)
_EITHER = _set("nom,nombre,nome,imie i nazwisko")
"""A full name, or the half that its neighbour lacks: Prénom and Nom, Nombre and Apellidos, Nome and Cognome."""
_LAST_BESIDE_FIRST = {folded("name"): {folded("vorname")}, folded("nom"): {folded("prenom")}}
_LANGUAGE = _set("language,lang,locale,preferred language,sprache,langue,idioma,lingua,taal,sprak,jezyk,mc_language")
_CONSENT = [
    "consent_at",
    "confirm_time",
    "confirmed_at",
    "date confirmed",
    "confirmation date",
    "optin_time",
    "opt-in date",
    "opt-in time",
    "optin date",
    "opted_in_at",
    "subscribed at",
    "subscribed_at",
    "subscription date",
    "date subscribed",
    "subscribe date",
    "signup date",
    "anmeldedatum",
    "angemeldet am",
    "bestatigt am",
    "opt-in-datum",
    "date d'inscription",
    "fecha de suscripcion",
    "data di iscrizione",
    "data iscrizione",
    "inschrijfdatum",
]
"""When a reader asked, the best evidence first; the time a row was created is no evidence."""

_PROGRAMS: tuple[tuple[str, frozenset[str]], ...] = (
    ("Mailchimp", _set("MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,LEID,EUID,UNSUB_TIME,CLEAN_TIME")),
    ("Ghost", _set("subscribed_to_emails,complimentary_plan,stripe_customer_id,labels,tiers,products")),
    ("beehiiv", _set("tier,Free Tier,Premium Tier,stripe_customer_id,Subscription Date (Substack),referral_code")),
    ("Substack", _set("active_subscription,expiry,plan,email_disabled,first_payment_at,Stripe plan,Paid upgrade date,"
                      "Bestseller,Emails received (6mo),Emails dropped (6mo),Subscription source (free)")),
    ("listmonk", _set("uuid,attributes,updated_at,subscription_status,lists")),
    ("Keila", _set("External ID,Data,Double Opt-in At")),
    ("Buttondown", _set("subscriber_type,secondary_id,source,utm_campaign,metadata,creation_date,unsubscription_date")),
    ("phpList", _set("confirmed,blacklisted,bouncecount,entered,uniqid,htmlemail,subscribepage,foreignkey,optedin")),
    ("EmailOctopus", _set("Lists,Date added,EmailOctopus ID,contact id,tags,last updated,last updated at")),
    ("Kit", _set("cancelled_at,subscriber_id,utm_source,utm_medium,referrer,referrer_utm_source,id,tags,status")),
    ("Brevo", _set("CONTACT ID,EMAIL_BLACKLISTED,SMS,DOUBLE_OPT-IN,OPT_IN,ADDED_TIME,MODIFIED_TIME,SMS_BLACKLISTED")),
    ("CleverReach", _set("registered,activated,deactivated,source,orders,bounced")),
    ("rapidmail", _set("recipientlist_id,foreign_id,activated_ip,created_ip,gender,mailtype,extra1")),
    ("MailerLite", _set("Subscribed,Sent,Opens,Clicks,Signup IP,Opt-in IP,Optin date,subscribe_date,Location,sent")),
    ("HubSpot", _set("Record ID,Contact owner,Lead Status,Lifecycle Stage,Unsubscribed from all email,Create Date")),
    ("Campaign Monitor", _set("Date Subscribed,Date Joined,Consent to track,Date Unsubscribed,Email client,Joined")),
    ("Mautic", _set("dateAdded,date_identified,isPublished,points,doNotContact,dnc,attribution,owner_id")),
    ("Sendy", _set("last_activity,last_campaign,join_date,gdpr,method,added_via")),
    ("Google Forms", _set("Timestamp,Zeitstempel,Horodateur,Marca temporal,Informazioni cronologiche,Tijdstempel,"
                          "Carimbo de data/hora")),
)  # fmt: skip
"""By what else stands in its first line; only named in the result, columns are known by themselves."""


@dataclass(frozen=True)
class Columns:
    """Which cell is what, by index; `attributes` are (index, variable name), `left` the columns that say who left."""

    email: int
    name: int | None
    language: int | None
    consent_at: int | None
    attributes: tuple[tuple[int, str], ...]
    count: int
    name_parts: tuple[int, ...] = ()
    """Columns whose values make up the name of a row that has none of its own: first and last name."""
    left: tuple[LeftColumn, ...] = ()
    named_left: tuple[int, ...] = ()
    program: str | None = None
    """Who wrote the file, as its first line tells."""
    known_by: tuple[tuple[str, str], ...] = ()
    """(what, its heading) of each column recognised under another name."""
    renamed: tuple[tuple[str, str], ...] = ()
    """(heading, variable) of columns whose own name no text could use."""
    left_out: tuple[str, ...] = ()
    """Headings of columns that are not kept."""


def is_email(heading: str) -> bool:
    """Whether a column of this heading holds the addresses."""
    return folded(heading) in _EMAIL


def exported(name: str) -> str:
    """The heading of an attribute in our own exports: one called status keeps nobody out when it comes back."""
    return ATTRIBUTE + name if kind_of(name) else name


def is_variable(name: str) -> bool:
    """Whether a value of this name can be kept and used in a text."""
    taken = name in OWN or name in RESERVED or name in SYSTEM_VARIABLES
    return not taken and _IDENTIFIER.fullmatch(name) is not None


def read_header(
    header: Sequence[str],
    mapping: Mapping[str, str],
    left: Sequence[str] = (),
    sample: Sequence[Sequence[str]] = (),
    not_left: Sequence[str] = (),
) -> Columns:
    """Find the columns. `mapping` says variable → heading, or its place as `#3`; `left` names columns that say who
    left, `not_left` those that do not, whatever they are called; `sample` are rows, by which a wrong first line is
    explained.

    Raises UsageError with everything that is wrong, and the columns there are.
    """
    texts = [unguarded(text.strip().strip("\ufeff\u200b")).strip() for text in header]
    silent = {index for index, text in enumerate(texts) if text.startswith(ATTRIBUTE)}
    texts = [text.removeprefix(ATTRIBUTE) for text in texts]
    problems: list[Trouble] = []
    own: dict[str, int] = {}
    extra: list[tuple[int, str]] = []
    for typed, heading in mapping.items():
        name = typed.strip().lower()
        index = _find(texts, heading, problems)
        if index is None:
            continue
        if index in own.values() or index in [at for at, _ in extra]:
            problems.append(Trouble("header.column_twice", column=heading))
        elif name in own or name in [known for _, known in extra]:
            problems.append(Trouble("header.two_columns", name=name))
        elif name in OWN:
            own[name] = index
        elif is_variable(name):
            extra.append((index, name))
        else:
            problems.append(Trouble("header.no_name", name=typed.strip(), reserved=list(SYSTEM_VARIABLES)))
    named = [at for heading in left if (at := _find(texts, heading, problems)) is not None]
    silent |= {at for heading in not_left if (at := _find(texts, heading, problems)) is not None}
    problems += [Trouble("header.left_and_not", column=texts[at]) for at in sorted(silent & {*named})]
    taken = {*own.values(), *(at for at, _ in extra)}
    _recognise(texts, own, taken)
    if "email" not in own:
        problems += _no_email(texts, sample)
    if problems:
        raise _all_of(problems)
    return _columns(texts, own, extra, taken, named, silent)


def _columns(
    texts: Sequence[str],
    own: Mapping[str, int],
    extra: Sequence[tuple[int, str]],
    taken: set[int],
    named: Sequence[int],
    silent: set[int],
) -> Columns:
    skipped = set(range(3)) if tuple(text.lower() for text in texts[:3]) == REJECTS else set()
    attributes, renamed, left_out = _attributes(texts, {*own.values()} - _also_kept(texts, own), extra, taken | skipped)
    if {"confirmed", "blacklisted", "optedin"} <= set(map(folded, texts)):
        # phpList: nought for whoever an operator entered; it mails whoever is confirmed
        silent = silent | {at for at, text in enumerate(texts) if folded(text) == "optedin"}
    columns = [LeftColumn(at, texts[at], named_kind(texts[at])) for at in named]
    columns += [
        LeftColumn(index, text, kind)
        for index, text in enumerate(texts)
        if index not in {*named, *own.values(), *skipped, *silent} and (kind := kind_of(text)) is not None
    ]
    is_ours = tuple(texts[:4]) == OWN
    has_whole = is_ours or ("name" in own and not _is_last(texts, own["name"]))
    parts = () if has_whole else _name_parts(texts, taken)
    known = [(name, texts[index]) for name, index in own.items() if texts[index].lower() != name and index not in taken]
    if len(parts) > 1 or (parts and "name" not in own):
        known.append(("name", " + ".join(texts[index] for index in parts)))
    return Columns(
        own["email"],
        None if parts and "name" in own else own.get("name"),
        own.get("language"),
        own.get("consent_at"),
        tuple(attributes),
        len(texts),
        name_parts=parts,
        left=tuple(columns),
        named_left=tuple(named),
        program=None if is_ours else _program(texts),
        known_by=tuple(known),
        renamed=tuple(renamed),
        left_out=tuple(left_out),
    )


def _recognise(texts: Sequence[str], own: dict[str, int], taken: set[int]) -> None:
    """The columns that nobody named: under our own name first, then by what others call them."""
    free = [(index, text) for index, text in enumerate(texts) if index not in taken and text]
    for name in OWN:
        exact = [index for index, text in free if text.lower() == name]
        if name not in own and exact:
            own[name] = exact[0]
    for name, words in (("email", _EMAIL), ("name", _NAME), ("language", _LANGUAGE)):
        found = [index for index, text in free if folded(text) in words]
        if name not in own and found:
            own[name] = found[0]
    if "name" not in own and not any(folded(text) in _FIRST | _LAST for _, text in free):
        found = [index for index, text in free if folded(text) in _EITHER]
        if found:
            own["name"] = found[0]
    for known in map(folded, _CONSENT):
        found = [index for index, text in free if folded(text) == known and index not in own.values()]
        if "consent_at" not in own and found:
            own["consent_at"] = found[0]


def _also_kept(texts: Sequence[str], own: Mapping[str, int]) -> set[int]:
    """Recognised columns that texts may know under their own name: a date of joining stays an attribute too."""
    return {index for name, index in own.items() if name == "consent_at" and texts[index].lower() != name}


def _name_parts(texts: Sequence[str], taken: set[int]) -> tuple[int, ...]:
    words = [(index, folded(text)) for index, text in enumerate(texts) if index not in taken]
    first = next((index for index, word in words if word in _FIRST), None)
    last = next((index for index, word in words if word in _LAST), None)
    if (first is None) != (last is None):
        other = next((index for index, word in words if word in _EITHER or _is_last(texts, index)), None)
        first, last = (other, last) if first is None else (first, other)
    return tuple(index for index in (first, last) if index is not None)


def _is_last(texts: Sequence[str], index: int) -> bool:
    """Whether a column called name holds family names only, because the first name stands beside it: Vorname, Name."""
    words = set(map(folded, texts))
    return bool(_LAST_BESIDE_FIRST.get(folded(texts[index]), set()) & words) and not words & _LAST


def _attributes(
    texts: Sequence[str], own: set[int], extra: Sequence[tuple[int, str]], gone: set[int]
) -> tuple[list[tuple[int, str]], list[tuple[str, str]], list[str]]:
    """(index, variable) of what is kept, (heading, variable) of what had to be renamed, and what is left out."""
    kept = list(extra)
    names = {name for _, name in extra}
    renamed, left_out = [], []
    for index, text in enumerate(texts):
        if index in own or index in gone or not text:
            continue
        plain = variable = _variable(text)
        number = 2
        while (variable in names or variable in OWN) and number < 100:
            variable = f"{plain[: 39 - len(str(number))]}_{number}"
            number += 1
        if not is_variable(variable) or variable in names or len(kept) >= MAX_ATTRIBUTES:
            left_out.append(text)
            continue
        names.add(variable)
        kept.append((index, variable))
        if variable != re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_"):
            renamed.append((text, variable))
    return kept, renamed, left_out


def _variable(text: str) -> str:
    """The name a text can use for a heading: `Straße/Nr.` → `strasse_nr`; "" when nothing is left of it."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if name[:1].isdigit():
        name = f"no_{name}"
    return name[:40].rstrip("_") if len(name) > 40 else name


def _find(texts: Sequence[str], wanted: str, problems: list[Trouble]) -> int | None:
    """The column a person named by its heading or its place; None with a problem noted."""
    wanted = wanted.strip()
    for indexes in (
        [index for index, text in enumerate(texts) if text == wanted],
        [index for index, text in enumerate(texts) if text.casefold() == wanted.casefold()],
        [int(wanted[1:]) - 1] if _POSITION.fullmatch(wanted) and 0 < int(wanted[1:]) <= len(texts) else [],
    ):
        if len(indexes) == 1:
            return indexes[0]
        if indexes:
            places = [f"#{index + 1}" for index in indexes]
            problems.append(Trouble("header.column_repeated", column=wanted, times=len(indexes), places=places))
            return None
    problems.append(Trouble("header.no_column", column=wanted, columns=list(texts)))
    return None


def _no_email(texts: Sequence[str], sample: Sequence[Sequence[str]]) -> list[Trouble]:
    if any("@" in text and "." in text for text in texts):
        return [Trouble("header.none")]
    likely = next((at for at, text in enumerate(texts) if "mail" in text.lower()), None)
    if likely is None:
        held = {at: sum(at < len(row) and "@" in row[at] for row in sample) for at in range(len(texts))}
        best = max(held, key=lambda at: held[at])
        likely = best if held[best] else None
    if likely is None:
        return [Trouble("header.no_address", columns=list(texts))]
    text = texts[likely]
    can_be_typed = text and text.isprintable() and len(text) <= 40 and "'" not in text and texts.count(text) == 1
    return [Trouble("header.no_email", columns=list(texts), likely=text if can_be_typed else f"#{likely + 1}")]


def _all_of(problems: Sequence[Trouble]) -> UsageError:
    return UsageError("header.wrong", problems=list(dict.fromkeys(problems)))


def _program(texts: Sequence[str]) -> str | None:
    words = set(map(folded, texts))
    found = [(len(words & signs), -at) for at, (_, signs) in enumerate(_PROGRAMS)]
    most, at = max(found)
    name = _PROGRAMS[-at][0]
    return name if most >= (1 if name == "Google Forms" else 2) else None
