"""Sentences about the relay: its URL, its answers, its faults. Pure."""

from collections.abc import Callable

_FORMS = "smtp://host:port or smtps://user:password@host, with ?starttls=required or ?starttls=off"

SENTENCES: dict[str, str | Callable[..., str]] = {
    "relay.fault": "{cause}",
    "relay.host_missing": f"the relay needs a host name; allowed: {_FORMS}",
    "relay.port": "the relay's port must be between 1 and 65535, not {port}",
    "relay.no_connection": "a relay needs at least 1 connection and 1 mail per connection",
    "relay.password_in_clear": (
        "the password for {relay} would cross the network in clear: use smtps:// or ?starttls=required"
    ),
    "relay.url": f"the relay's URL cannot be read; allowed: {_FORMS}",
    "relay.url_option": f"the relay's URL has an option that is not known; allowed: {_FORMS}",
    "relay.starttls_twice": "smtps:// is encrypted from the start: leave ?starttls out",
}
