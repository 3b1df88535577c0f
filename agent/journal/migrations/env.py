"""Run by alembic with the journal's own connection in `config.attributes`.

On a server each migration is committed alone, so that no lock of one is held for as long as the
next takes; a file is brought up to date as a whole.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
alone = connection.dialect.name != "sqlite"
context.configure(connection=connection, transaction_per_migration=alone)
with context.begin_transaction():
    context.run_migrations()
