"""How Alembic runs the versions: on the connection that `migrate` hands over."""

from alembic import context

from zspider.storage.schema import metadata

given = context.config.attributes
context.configure(connection=given["connection"], target_metadata=metadata, progress=given["progress"])
with context.begin_transaction():
    context.run_migrations()
