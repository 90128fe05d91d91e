"""What a file of another program says about people who left, were blocked or never confirmed. Pure.

A no counts whatever column says it: reading one too many costs a reader who can be added by hand, reading one too few
mails somebody who asked for silence.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """What a cell says about its reader."""

    IN = "in"
    LEFT = "left"
    UNCONFIRMED = "unconfirmed"
    """Never said yes: not subscribed, and no opt-out either."""
    UNKNOWN = "unknown"
    """A word that stands for none of them here."""


class Kind(StrEnum):
    """How a column says it."""

    WHEN = "when"
    """Anything in it, mostly a time, says that the reader left."""
    FLAG_IN = "flag_in"
    """Yes while the reader wants mail."""
    FLAG_CONFIRMED = "flag_confirmed"
    """Yes once the reader confirmed."""
    STATUS = "status"
    """A word out of a list."""
    STATE = "state"
    """A status, or a place or a kind: yes and no say nothing."""
    OTHER_STATUS = "other_status"
    """Mostly about something else, an order or a customer: only a word that can mean nothing but mail counts."""


@dataclass(frozen=True)
class LeftColumn:
    """A column that can say that somebody left."""

    index: int
    heading: str
    kind: Kind


def folded(text: str) -> str:
    """A heading or a word without accents, capitals, blanks and signs: `E-Mail Adresse` → `emailadresse`."""
    text = text.casefold()
    if not text.isascii():
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return re.sub(r"[\W_]+", "", text)


def _set(words: str) -> frozenset[str]:
    return frozenset(folded(word) for word in words.split(","))


_WHEN = _set(
    # Mailchimp, beehiiv, Ghost, Kit, MailerLite, Campaign Monitor, Buttondown, HubSpot, Brevo, Mautic, phpList,
    # rapidmail,
    # CleverReach, Sendy, EmailOctopus
    "UNSUB_TIME,UNSUB_CAMPAIGN_TITLE,UNSUB_CAMPAIGN_ID,UNSUB_REASON,UNSUB_REASON_OTHER,CLEAN_TIME,CLEAN_CAMPAIGN_TITLE,"
    "CLEAN_CAMPAIGN_ID,unsubscribed_at,unsubscribed on,unsubscribed date,unsubscribe date,unsubscribe time,"
    "unsubscribed time,date unsubscribed,unsubscription date,unsubscribe_reason,unsubscription_reason,opt-out date,"
    "optout time,opt out date,opted_out_at,optout_at,deleted_at,deleted,deleted on,date deleted,removed_at,canceled_at,"
    "cancelled_at,cancelled,canceled,bounced_at,bounce date,bounced,bounced on,complained_at,complained,complaint,"
    "blocked_at,blocked,blocklisted,blocklisted_at,blacklisted,blacklisted_at,email_blacklisted,email blocklisted,"
    "suppressed,suppressed_at,unsubscribed,is_unsubscribed,email_unsubscribed,unsubscribed from all email,"
    "opted out,opt out,optout,is_opted_out,opted out of email,email opt out,email_opted_out,do not email,"
    "do not contact,"
    "donotemail,dnc,donotcontact,disabled,is_disabled,email_disabled,deactivated,deactivated_at,marked as spam,spam,"
    "hard bounced,hardbounced,hard_bounce,email hard bounce reason,banned,is_banned,archived_at,left_at,cleaned,"
    "undeliverable,unreachable_at,global_unsubscribe,complaints,spam complaints,email suppressions,suppressions,"
    "portal bounce,global bounce,portal spam report,"
    # the same in other languages
    "abgemeldet,abgemeldet am,abmeldedatum,abmeldung,abmeldezeitpunkt,ausgetragen,ausgetragen am,gesperrt,gesperrt am,"
    "geloscht,geloscht am,abbestellt,abbestellt am,deaktiviert,deaktiviert am,"
    "desabonne,desabonne le,date de desabonnement,date desabonnement,desinscrit,desinscrit le,date de desinscription,"
    "supprime le,date de suppression,fecha de baja,dado de baja,baja,fecha de cancelacion,"
    "data disiscrizione,data di disiscrizione,disiscritto,data de cancelamento,descadastrado em,"
    "uitgeschreven,uitgeschreven op,uitschrijfdatum,afgemeld,afgemeld op"
)
_FLAGS_IN = _set(
    "subscribed_to_emails,subscribed,is_subscribed,enabled,is_enabled,active,is_active,receives_newsletter,"
    "email subscribed,email_subscribed,email marketing,subscribed to newsletter,newsletter,mailable,"
    "angemeldet,aktiv,abonniert,abonne,inscrit,suscrito,activo,iscritto,attivo,ativo,inscrito,aangemeld,actief"
)
_FLAGS_CONFIRMED = _set(
    # a no here is a box that was never ticked: no mail, and no opt-out either
    "opt_in,opted_in,optin,is_opted_in,email_opt_in,email_optin,accepts marketing,accepts_marketing,wants newsletter,"
    "accepts email marketing,consent,email consent,email marketing consent,marketing consent,einwilligung,"
    "confirmed,is_confirmed,email_confirmed,verified,email_verified,is_verified,activated,double_optin,double opt-in,"
    "doi_confirmed,bestatigt,confirme,confirmado,confermato,bevestigd"
)
_STATUSES = _set(
    "status,state,subscription_status,subscriber_status,member_status,email_status,contact_status,"
    "email marketing status,"
    "marketing status,email permission status,email subscription status,mailing status,list status,subscription_state,"
    "subscriber_state,subscriber_type,type,optin_status,opt-in status,email_marketing_status,subscription,"
    "abostatus,anmeldestatus,statut,statut de l'abonnement,etat,estado,estado de suscripcion,stato,stato iscrizione,"
    "situacao,inschrijfstatus,abonnementsstatus"
)

_STATES = _set("state,type,etat,estado,stato")
"""Headings of a status, or of a place or a kind: yes, no and their like say nothing there (NO is Norway)."""

_NOTHING = _set("null,n/a,na,none,undefined,nan,\\n,#n/a,never,nie") | {"", "00000000", "00000000000000"}
_NO = _set("0,00,no,n,false,f,off,nein,falsch,non,faux,nee,falso,nao,unchecked")
_YES = _set("1,yes,y,true,t,on,ja,j,wahr,oui,vrai,si,s,sim,vero,verdadero,verdadeiro,x,checked")
_IN = _set(
    "active,subscribed,enabled,confirmed,express,implied,expressed consent,implied consent,"
    "regular,premium,gifted,new,opted in,opt-in,opted-in,optin,subscriber,member,"
    "valid,verified,free,paid,comped,engaged,current,ok,approved,registered,trialing,past_due,imported,unpaid,"
    "aktiv,angemeldet,abonniert,bestatigt,abonne,abonnee,actif,active,inscrit,inscrite,suscrito,activo,confirmado,"
    "iscritto,attivo,confermato,inscrito,ativo,actief,aangemeld,ingeschreven,bevestigd"
)
_LEFT = _set(
    "unsubscribed,unsubscribe,unsub,unsubscribed_by_user,unsubscribed by admin,globally unsubscribed,opted out,opt-out,"
    "optedout,optout,left,inactive,disabled,deactivated,blocked,blocklisted,blacklisted,blacklist,suppressed,"
    "suppression,"
    "cleaned,bounced,bounce,hard bounced,hard bounce,hardbounced,soft bounced,softbounced,soft bounce,"
    "bouncing,complained,"
    "complaint,complainer,abuse,abused,abuse complaint,spam,spammed,marked as spam,spam complaint,reported spam,spammy,"
    "junk,deleted,removed,archived,invalid,malformed,cancelled,canceled,churned,churning,unreachable,undeliverable,"
    "undelivered,non-subscribed,not subscribed,do not email,do not mail,do not contact,dnc,banned,rejected,paused,"
    "transactional,needs attention,failed,expired,dead,quarantined,never,upgraded_out,"
    "abgemeldet,ausgetragen,inaktiv,gesperrt,geloscht,bereinigt,blockiert,deaktiviert,abbestellt,gekundigt,"
    "unzustellbar,"
    "desabonne,desabonnee,desinscrit,desinscrite,nettoye,supprime,bloque,inactif,rejete,"
    "dado de baja,dada de baja,baja,cancelado,cancelada,eliminado,eliminada,rebotado,bloqueado,inactivo,desuscrito,"
    "no suscrito,disiscritto,cancellato,annullato,eliminato,bloccato,inattivo,"
    "descadastrado,excluido,inativo,uitgeschreven,afgemeld,geblokkeerd,verwijderd,opgezegd,inactief,opgeschoond"
)
_UNCONFIRMED = _set(
    "no permissions set,awaiting reply,temp hold,"
    "unconfirmed,not confirmed,notconfirmed,never confirmed,never subscribed,pending,pending confirmation,unactivated,"
    "not activated,unverified,not verified,waiting,validating,awaiting confirmation,opt-in pending,doi pending,"
    "confirmation pending,single opt-in pending,"
    "unbestatigt,nicht bestatigt,ausstehend,offen,non confirme,en attente,sin confirmar,"
    "no confirmado,pendiente,non confermato,in attesa,nao confirmado,pendente,onbevestigd,niet bevestigd,in afwachting"
)

_NO_MORE = re.compile(
    "unsub|nonsubscribed|notsubscribed|optedout|optout|blacklist|blocklist|suppress|cleaned|(?:hard|soft)?bounce|"
    "complain|spam|abuse|markedasspam|donot(?:e?mail|contact)|abgemeldet|ausgetragen|abbestellt|bereinigt|desabonn|"
    "desinscr|nettoye|d[ao]d[ao]debaja|desuscrit|disiscritt|descadastr|uitgeschreven|afgemeld"
)
"""How words begin that mean nothing but an end of mail, with whatever follows: `Unsubscribed (2024-05-04)`."""
_LEAVING = re.compile(
    "unsub|optedout|optout|blacklist|blocklist|abgemeldet|abmelde|abbestell|ausgetragen|desabonne|desinscri|disiscri|"
    "descadastr|uitgeschreven|uitschrijf|afgemeld|afmeld"
)
_NO_ANSWER = re.compile(".*(?:link|url|token|key|hash|page|seite|code|count|rate|subscribes)")
"""What headings about leaving end with when every reader has a value there."""
_STATUS_ENDS = ("status", "statut", "stato", "estado")


def kind_of(heading: str) -> Kind | None:
    """How a column of this heading says who left; None for one that is about something else."""
    name = folded(heading)
    for kind, names in (
        (Kind.STATE, _STATES),
        (Kind.STATUS, _STATUSES),
        (Kind.WHEN, _WHEN),
        (Kind.FLAG_IN, _FLAGS_IN),
        (Kind.FLAG_CONFIRMED, _FLAGS_CONFIRMED),
    ):
        if name in names:
            return kind
    if _LEAVING.search(name) and not _NO_ANSWER.fullmatch(name):
        return Kind.WHEN
    return Kind.OTHER_STATUS if name.endswith(_STATUS_ENDS) else None


def named_kind(heading: str) -> Kind:
    """How a column that a person named says it: as known, else anything but a plain yes to mail is a no."""
    kind = kind_of(heading)
    return Kind.STATUS if kind is Kind.OTHER_STATUS else kind or Kind.WHEN


def standing(cell: str, kind: Kind) -> Standing:
    """What one cell says."""
    word = folded(cell)
    if word in _NOTHING:
        return Standing.IN
    if kind is Kind.OTHER_STATUS:
        if _NO_MORE.match(word):
            return Standing.LEFT
        return Standing.UNCONFIRMED if word in _UNCONFIRMED and "confirm" in word else Standing.IN
    if word in _UNCONFIRMED:
        return Standing.UNCONFIRMED
    if word in _LEFT or (kind is not Kind.WHEN and _NO_MORE.match(word)):
        return Standing.LEFT
    if kind is Kind.WHEN:
        return Standing.IN if word in _NO or word in _IN else Standing.LEFT
    if word in _NO and kind is not Kind.STATE:
        return Standing.UNCONFIRMED if kind is Kind.FLAG_CONFIRMED else Standing.LEFT
    if kind is Kind.STATUS and word.isdecimal() and word not in _YES:
        return Standing.LEFT  # 2, 3 …: what another program's number means beside 1 is never "active"
    is_known = kind not in (Kind.STATUS, Kind.STATE) or word in _IN or word in _YES
    return Standing.IN if is_known else Standing.UNKNOWN


def judge(cells: Sequence[str], columns: Sequence[LeftColumn]) -> tuple[Standing, str]:
    """(the strongest no among a row's cells, the heading that says it): left before unconfirmed before unknown."""
    found, said = Standing.IN, ""
    for column in columns:
        cell = cells[column.index] if column.index < len(cells) else ""
        if not cell or (here := standing(cell, column.kind)) is Standing.IN:
            continue
        if here is Standing.LEFT:
            return here, column.heading
        if here is Standing.UNKNOWN and not folded(column.heading).endswith(("status", "statut")):
            continue  # type, state: mostly about something else
        if found is not Standing.UNCONFIRMED:
            found, said = here, column.heading
    return found, said
