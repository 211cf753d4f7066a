"""Whose word about a script counts, and which scripts wait for a project that they import."""

from zspider.broker.keys import MasterKeys
from zspider.broker.token import token_id
from zspider.roles.master.slave_registry import SlaveRegistry
from zspider.scheduler.leases import Session
from zspider.task import ScriptInfo, Teller


class ScriptTrust:
    """Knows by whose token a slave told what a script declares, and whether that is still valid."""

    def __init__(self, keys: MasterKeys, registry: SlaveRegistry, *, needs_token: bool) -> None:
        """needs_token: slaves join with a token."""
        self._keys = keys
        self._registry = registry
        self._needs_token = needs_token
        self._lacking: dict[str, set[int]] = {}  # name of no project -> projects whose scripts import it

    def teller(self, session: Session, now_ms: int) -> Teller:
        """Return who tells, when a slave that has joined tells something."""
        user = self._registry.stats[session.id].user
        return Teller(token_id(user) if user else "", session.host, now_ms)

    def is_trusted(self, info: ScriptInfo | None) -> bool:
        """Return whether it is known who told this, and by a token that is valid. Nothing that is not known is bad."""
        if info is None:
            return True
        if info.told is None or info.error:  # kept by an older master
            return False
        if not self._needs_token:
            return True
        token = info.told.token
        return any(one.id == token and one.revoked_ms is None for one in self._keys.list_tokens())

    def lacks(self, project: int, name: str) -> None:
        """Note that a project's script imports a project that is not known."""
        self._lacking.setdefault(name, set()).add(project)

    def that_lack(self, name: str) -> set[int]:
        """Return the projects whose scripts lacked this project, and forget that."""
        return self._lacking.pop(name, set())

    def forget(self, project: int) -> None:
        """Forget what a removed project's script lacked."""
        for waiting in self._lacking.values():
            waiting.discard(project)
        self._lacking = {name: waiting for name, waiting in self._lacking.items() if waiting}
