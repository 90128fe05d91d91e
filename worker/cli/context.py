"""How a command begins: settings read, logs set up, the ledger open and of this version."""

from dataclasses import dataclass

from worker import log, settings
from worker.settings import Settings
from worker.storage.engine import Database, open_database


@dataclass(frozen=True)
class Ledger:
    """What nearly every command needs."""

    settings: Settings
    database: Database

    @property
    def actor(self) -> str:
        return self.settings.who


def open_settings(*, is_process: bool = False) -> Settings:
    """Read the settings and set up logs. Raises SettingsError naming everything that is wrong.

    A command talks for itself, so below debug it logs warnings only; a process logs as told.
    """
    read = settings.load()
    quiet = read.log_level == "info" and not is_process
    log.configure(read.log_format, "warning" if quiet else read.log_level)
    return read


def open_ledger() -> Ledger:
    """Settings and a database that answers and has this version's schema.

    Raises SettingsError, UnreachableError or SchemaError.
    """
    read = open_settings()
    database = open_database(read.database_url.get_secret_value(), read.secrets)
    database.check()
    return Ledger(read, database)
