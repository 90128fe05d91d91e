"""What a relay's words say beyond its code: whose trouble it is, and which limit was reached. Pure.

Codes alone mislead: 550 is said of a dead mailbox, of a used-up account and of a sender nobody trusts. The phrases are
those of mail servers and sending services, English first, read from their manuals and sources. Addresses are taken out
before anything is looked for, because a reader may be called daily.limit@ or spf@.
"""

import re
from enum import StrEnum


class Limit(StrEnum):
    """Which limit of ours a reply speaks of. A reader's own limit is none of these."""

    NONE = ""
    SESSION = "session"
    """Mails over one connection: another connection may go on at once."""
    RATE = "rate"
    """Mails or connections in a short time: a pause of seconds or minutes helps."""
    QUOTA = "quota"
    """What the account may send an hour, a day, a month: only hours help."""


ADDRESS = re.compile(r"""[^\s<>()\[\]"',;:]+(?:@|%40|=40|\\@)[^\s<>()"',;]+""", re.IGNORECASE)
"""Anything that looks like an address, also as it stands in a link or behind a prefix."""


def _any(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


_SIZE = _any(
    r"(?:message|mail|body|content|attachment)s?\b.{0,30}\b(?:too (?:big|large)|size"
    r"|exceeds? .{0,20}(?:bytes|[km]i?b\b))",
    r"\bsize\b.{0,30}(?:limit|exceed|maximum|too)",
    r"(?:maximum|max|fixed maximum) .{0,20}size",
)
_NO_SUCH_READER = _any(
    r"\b(?:user|mailbox|recipient|account|addressee?|person|alias|customer|subscriber)s?\b[^.;]{0,40}"
    r"\b(?:unknown|not (?:be )?(?:found|exist|known|listed)|doesn'?t exist|no longer|non-?existent"
    r"|cannot be found)",
    r"\b(?:unknown|no such|non-?existent|invalid|bad)\s+(?:local\s+|virtual\s+|destination\s+)*"
    r"(?:user|mailbox|recipient|account|address|person|alias|name here)",
    r"(?:does not|doesn'?t) (?:exist|have an? .{0,30}account)",
    r"recipient address rejected: access denied",  # Exchange Online, 5.4.1: its directory has no such mailbox
    r"unrout(?:e)?able address|undeliverable address|user not local|recipientnotfound|address lookup"
    r"|not our customer",
    r"(?:account|mailbox|user|recipient|inbox)\b.{0,50}(?:is |has been |was )?"
    r"(?:disabled|inactive|deactivated|suspended|closed|expired|discontinued|over ?quota|full)\b",
    r"over ?quota|(?:mailbox|inbox|mail ?folder|storage)\b.{0,30}(?:full|quota|exceed)"
    r"|quota.{0,20}mailbox|insufficient storage",
    r"(?:empfänger|postfach|benutzer|utilisateur|destinataire|boîte|usuario|buzón).{0,30}"
    r"(?:unbekannt|existiert nicht|nicht vorhanden|voll|inconnue?|n'existe|pleine|desconocido|no existe"
    r"|llen[oa])",
)
_READERS_PACE = _any(
    r"user you are trying to contact",
    r"recipient(?:'s)?\b.{0,60}(?:rate|receiving limit|thread limit|too (?:many|much|quickly|fast)|throttl)",
    r"(?:mailbox|inbox)\b.{0,40}(?:rate|too (?:many|much|quickly|fast)|throttl)",
    r"receiv(?:ing|es) .{0,30}(?:too quickly|too much|at a rate)|receiving limit",
)
_PER_SESSION = _any(
    r"(?:per|in|for|on|during|over|within|from) (?:this |the |a |an |one |each |single |same |current )*"
    r"(?:smtp[ -]*)?(?:session|connection)\b(?!s)",
    r"\b(?:session|connection)(?:'s)? (?:message|mail|email|transaction|recipient|delivery)s? (?:limit"
    r"|count|maximum)",
    r"too many (?:messages|e?-?mails|recipients|transactions) this (?:session|connection)\b",
    r"(?:reconnect|open (?:a )?new connection|new session)",
)
_HOURS = (
    r"(?:hours?|hourly|days?|daily|weeks?|weekly|months?|monthly|today|24 ?h(?:rs?)?\b|stunden?"
    r"|tag(?:es)?|jour|día)"
)
_MUCH = r"(?:limit\w*|quota|exceed\w*|maximum|max|reached|threshold|allowance|allowed|too many|kontingent|erreicht)"
_QUOTA = _any(
    rf"\b{_HOURS}\b.{{0,60}}{_MUCH}|\b{_MUCH}\b.{{0,60}}\b{_HOURS}\b|tageslimit|stundenlimit",
    r"(?:sending|send|sent|outgoing|outbound|relay|submission|account|message count|credits?|plan"
    r"|mail(?:ing)?|e-?mails?|smtp)"
    r"[ -]*(?:limit|quota|allowance|credits?)s?\b.{0,40}(?:exceed|reach|hit|used|over|exhaust)",
    r"(?:exceed\w*|reach\w*|hit|over|used).{0,40}"
    r"(?:sending|send|outgoing|outbound|relay|submission|account|message|mail|e-?mail|recipient"
    r"|plan)s?[ -]*(?:limit|quota)",
    r"(?:credits? (?:exceeded|exhausted|used)|(?:out of|insufficient|not enough|no (?:more )?) ?credits?)",
    r"max(?:imum)? defers and failures|submissionquota|quota d'envoi|versandlimit|sendelimit",
)
_PEAK = _any(r"\bpeak\b.{0,40}limit")  # Gmail: of the moment, not of the day
_BARE_QUOTA = _any(r"quota.{0,20}(?:exceed|reach|used|over)|exceed\w*.{0,20}quota|\bquota\b")
_RATE = _any(
    r"too (?:many|much|fast|frequent|quickly)|rate.{0,3}limit|(?:sending|message|maximum|max) rate"
    r"|unusual rate|throttl",
    r"server busy|exceeded the (?:rate|limit)|connection limit|limits? (?:was |has been "
    r"|is )?(?:exceeded|reached)",
    r"per (?:second|minute|\d+ ?(?:s|min))|slow(?:er)? down|flood|concurrent|\[(?:IP)?TSS?\d\d\]"
    r"|temporarily deferred",
    r"频繁|频率",  # too often, frequency: large Chinese providers
    r"trop de (?:connexions|messages|mails)|zu viele|tenant has exceeded threshold",
)
_GREYLIST = re.compile(r"gr[ae]y.?list|grau.?liste", re.IGNORECASE)
_SENDER = _any(
    r"relay(?:ing)?\b.{0,20}(?:den|not|prohibit|reject|refus|disallow|forbid|restrict|disabled)"
    r"|(?:unable|not permitted|"
    r"not allowed|refus\w+|do not|don'?t|cannot|can'?t|won'?t) (?:to )?(?:act as an? )?relay|open relay"
    r"|rcpthosts|not a gateway",
    r"authenticat|\bauth\b|log ?in (?:first|with)|not logged in|pop.before.smtp|credentials",
    r"(?:not|isn'?t|un-?) ?(?:be )?(?:allowed|authori[sz]ed|permitted|entitled) (?:to )?(?:send|use"
    r"|relay|mail|submit)",
    r"send ?as(?: ?denied)?\b|permissions? to send|send on behalf|not owned by|does(?: not"
    r"|n'?t) (?:belong|own)|spoof",
    r"\b(?:sender|from|envelope|return[- ]path|mail from|originator|absender|expéditeur|remitente)\b.{0,50}"
    r"(?:reject|den(?:y|ied)|not |in-?valid|block|banned|bann|mismatch|unverified|refus|verif|unknown"
    r"|gesperrt|unzul)",
    r"(?:in-?valid|bad|unknown|unverified|blocked|banned|spoofed|outbound) (?:outbound )?(?:sender|from"
    r"|return path)",
    r"not (?:been |yet )?verified|failed the check|sandbox|business verification",
    r"(?<!recipient address rejected: )unverified"  # Postfix, of a mailbox its own probe did not reach
    r"|free accounts? (?:are|is)|"
    r"domain .{0,60}(?:not allowed|not authori|unverified)",
    r"your (?:ip|host|server|domain|network|smtp|account|sending|plan|subscription|organi[sz]ation)",
    r"(?:smtp|sending|mailgun|sender|customer|sub)[ -]?account\b.{0,40}(?:disabled|suspended|blocked"
    r"|inactive|paused|not)",
    r"sending (?:is |has been |was )?(?:paused|disabled|suspended|blocked)|\b(?:ip|client|host) .{0,20}"
    r"(?:block|banned|blacklist|denied)|traffic not accepted|unauthori[sz]ed ip",
    r"client host|helo|ehlo|reverse (?:dns|hostname)|\brdns\b|\bptr\b|fcrdns|generic hostname",
    r"black.?list|block.?list|deny.?list|blackhole|\bdnsbl\b|\brbls?\b|spamhaus|spamcop|sorbs|barracuda|abusix|"
    r"uceprotect|senderscore|cloudmark|invaluement|blocked (?:using|by|for|due)|banned|listed (?:at|in|by|on)",
    r"reputation|outboundspam|unusual (?:sending |outgoing |outbound )?activity|tenant has"
    r"|\b(?:spf|dkim|dmarc)\b.{0,40}(?:fail|not|reject|align|pass"
    r"|record|polic|check|valid)",
)
_SEND_LIMIT = _any(r"\bsend(?:ing)?[ -](?:limit|quota)")  # IONOS says it behind "mailbox unavailable"
_DISTRUST = _any(r"spam|unsolicited|abus|phish|complaints?|polic(?:y|ies)|administrative|bulk|\b(?:spf|dkim|dmarc)\b")
"""Words that a reply about a dead mailbox may hold as well, in a link to the house's rules."""
_RETURN_PATH = _any(
    r"not owned by|send ?as ?denied|send ?as\b|permissions? to send as|send on behalf|does(?: not"
    r"|n'?t) (?:belong|own)|"
    r"spoof|mismatch",
    r"\b(?:sender|from|envelope|return[- ]path|mail from|originator|absender|expéditeur)\b.{0,50}"
    r"(?:reject|den(?:y|ied)|not |in-?valid|unverified|refus|verif|gesperrt|unzul)",
    r"(?:not|isn'?t|un-?) ?(?:be )?(?:allowed|authori[sz]ed|permitted) (?:to )?(?:send"
    r"|use).{0,40}(?:address|sender|from|as\b)",
    r"(?:address|identit(?:y|ies)|domain|sender)\b.{0,40}not (?:been |yet )?verified|failed the check",
)


_RELAYS_STATE = _any(
    r"insufficient (?:system )?(?:storage|space|resources)|(?:disk|spool|queue|file ?system)\w* (?:is )?full",
    r"out of (?:disk|space|memory)|queue file|trouble creating|write error|cannot (?:create|open|write)",
    r"(?:system|server|service|relay) (?:is )?(?:too busy|overloaded|currently un|temporarily un|not accepting)",
    r"(?:server|system) (?:mis)?config\w* (?:error|problem)|local (?:error|problem)|internal (?:server )?error",
)


def without_addresses(text: str, *known: str) -> str:
    """The words with every address in them as `<address>`; of the `known` ones the part before the @ goes too.

    What a relay says is kept, shown in `status` and in a pause's reason: whoever is erased must not live on in it.
    """
    shorter = ADDRESS.sub("<address>", text).replace("<<address>>", "<address>")
    for address in known:
        local = address.rpartition("@")[0].strip('"')
        if len(local) > 2 and local.lower() in shorter.lower():
            shorter = re.sub(rf"(?<![\w]){re.escape(local)}(?![\w])", "<address>", shorter, flags=re.IGNORECASE)
    return shorter.replace("<<address>>", "<address>")


def is_size(words: str) -> bool:
    return _SIZE.search(words) is not None


def is_greylisting(words: str) -> bool:
    return _GREYLIST.search(words) is not None


def names_dead_reader(words: str) -> bool:
    """Whether the mailbox is said to be missing, closed or full."""
    return _NO_SUCH_READER.search(words) is not None


def names_relays_state(words: str) -> bool:
    """Whether the relay speaks of itself: its disk, its load, its configuration."""
    return _RELAYS_STATE.search(words) is not None


def is_unproven_reader(words: str) -> bool:
    """Postfix, of a mailbox that its own probe could not reach: that the mailbox is missing is not said."""
    return "unverified address" in words.lower()


def names_readers_pace(words: str) -> bool:
    """Whether the mailbox is said to get too much at once, from whomever."""
    return _READERS_PACE.search(words) is not None


def names_sender(words: str) -> bool:
    """Whether we are named: our account, our address, our standing, our right to use this relay."""
    if names_sender_surely(words):
        return True
    return _DISTRUST.search(words) is not None and not names_dead_reader(words)


def names_sender_surely(words: str) -> bool:
    return _SENDER.search(words) is not None


def names_send_limit(words: str) -> bool:
    """Whether a limit on sending is named; a mailbox that receives has none."""
    return _SEND_LIMIT.search(words) is not None


def names_return_path(words: str) -> bool:
    """Whether the address we send from is said not to be ours."""
    return _RETURN_PATH.search(words) is not None


def names_quota(words: str) -> bool:
    return _BARE_QUOTA.search(words) is not None


def limit_in(words: str, *, bare_quota: bool) -> Limit:
    """Which limit the words name. `bare_quota`: a quota nobody is named for counts as ours."""
    if _PER_SESSION.search(words) and (_RATE.search(words) or _QUOTA.search(words) or re.search(_MUCH, words, re.I)):
        return Limit.SESSION
    if _PEAK.search(words):
        return Limit.RATE
    if _QUOTA.search(words) or (bare_quota and _BARE_QUOTA.search(words)):
        return Limit.QUOTA
    return Limit.RATE if _RATE.search(words) else Limit.NONE
