"""Who runs a recipient's mailbox: the closed list of names that ledger, reports and metrics share. Pure."""

from enum import StrEnum


class Provider(StrEnum):
    """The providers told apart; one per domain would grow without bound. `transport.shaping` maps domains to them.

    Each member is the brand that runs the mailbox, whatever its domain; OTHER is everybody else.
    """

    GMAIL = "gmail"
    OUTLOOK = "outlook"
    YAHOO = "yahoo"
    ICLOUD = "icloud"
    GMX = "gmx"
    T_ONLINE = "t-online"
    ORANGE = "orange"
    COMCAST = "comcast"
    PROTON = "proton"
    QQ = "qq"
    OTHER = "other"
