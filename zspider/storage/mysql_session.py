"""How a connection to MySQL (MariaDB) is set up: its session's variables, and what a node of a Galera cluster knows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pymysql

LOCK_WAIT_S = 5  # a lock held for longer by somebody else is an error, not a wait
IDLE_TRANSACTION_S = 10  # a process that stands still for longer in a transaction loses it, and with it all locks
IDLE_CONNECTION_S = 60  # the same where a server has no limit for transactions
UNLIMITED_S = 28_800

_ASKED = ("max_allowed_packet", "idle_transaction_timeout", "wsrep_on")
_ASK = f"SHOW SESSION VARIABLES WHERE Variable_name IN {_ASKED}"
_SQL_MODE = "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"


class Server(NamedTuple):
    """The server at the other end of a connection."""

    packet_bytes: int  # its max_allowed_packet
    is_node: bool  # of a Galera cluster


def set_up(connection: "pymysql.Connection[Any]", *, patient: bool) -> Server:
    """Prepare a new connection, and return what its server is.

    patient: set no limit for idle transactions. On a node of a Galera cluster it waits until the node has
    everything that was committed before on others. Raises pymysql's errors.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ASK)
        found = {str(name).lower(): str(value) for name, value in cursor.fetchall()}
        settings = session_settings(found, patient=patient)
        cursor.execute("SET SESSION " + ", ".join(f"{name} = {value}" for name, value in settings.items()))
        server = Server(int(found["max_allowed_packet"]), found.get("wsrep_on") == "ON")
        if server.is_node:
            _catch_up(cursor)
    return server


def session_settings(server: Mapping[str, str], *, patient: bool) -> dict[str, str | int]:
    """Return the variables to set, by name.

    server: its own variables; those that it does not know are missing. patient: as for `set_up`.
    """
    settings: dict[str, str | int] = {
        "time_zone": "'+00:00'",
        "wait_timeout": UNLIMITED_S,
        "innodb_lock_wait_timeout": LOCK_WAIT_S,
        "sql_mode": _SQL_MODE,
    }
    if not patient and "idle_transaction_timeout" in server:  # MariaDB from 10.3
        settings["idle_transaction_timeout"] = IDLE_TRANSACTION_S
    elif not patient:
        settings["wait_timeout"] = IDLE_CONNECTION_S
    return settings


def _catch_up(cursor: Any) -> None:
    """Read once what the whole cluster has committed by now; later reads cost nothing more."""
    cursor.execute("SET SESSION wsrep_sync_wait = 1")
    cursor.execute("SELECT 1")
    cursor.execute("SET SESSION wsrep_sync_wait = 0")
