"""The versions of the schema, oldest first, and how a database gets from one to the next.

Kept free of alembic, which takes long to import: every process compares its database with `HEAD` at its start, only
`corranto db upgrade` migrates (`storage.migrations.upgrade`).
"""

VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
HEAD = VERSIONS[-1]
