"""Grants as messages to slaves, and before them what a slave must know of their projects."""

from collections.abc import Sequence

from zspider.broker import messages as m
from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys, proof
from zspider.delivery import Grant
from zspider.scheduler.core import Core
from zspider.scheduler.leases import Lease, Session
from zspider.storage.counter_names import FIRST_RUN
from zspider.task import Project, ScriptInfo

GRANT_BYTES = 192 * 1024  # of one Grants message
GRANTS_MAX = 500


class GrantSender:
    """Sends what the core has granted, and gives back to the core what cannot be sent."""

    def __init__(self, hub: Hub, keys: MasterKeys, core: Core, cluster: bytes, epoch: int) -> None:
        self._hub = hub
        self._keys = keys
        self._core = core
        self._cluster = cluster
        self._epoch = epoch

    def give(self, session: Session, grants: Sequence[tuple[Lease, int]]) -> None:
        """Send grants, and before them what is new of their projects.

        Each comes with the offset in milliseconds at which it may start.
        """
        batch: list[Grant] = []
        size = 0
        for lease, start_ms in grants:
            project = self._core.projects[lease.task.ref.project].project
            self._introduce(session, project)
            grant = self._grant(lease, start_ms, project)
            size += 200 + len(grant.url) + len(grant.body) + len(grant.track or b"")
            batch.append(grant)
            if size > GRANT_BYTES or len(batch) >= GRANTS_MAX:
                self._send(session, batch)
                batch, size = [], 0
        if batch:
            self._send(session, batch)

    def _send(self, session: Session, batch: list[Grant]) -> None:
        if not self._hub.send(session.route, m.Grants(self._epoch, batch)):
            self._core.slaves.give_back(session.id, [grant.number for grant in batch], bar=False)
            session.is_silent = True  # until it is heard again

    def _grant(self, lease: Lease, start_ms: int, project: Project) -> Grant:
        task = lease.task
        return Grant(
            number=lease.number,
            project=project.id,
            taskid=task.taskid,
            url=task.url,
            run=task.run,
            attempt=lease.attempt,
            proof=proof(self._keys.secret, project.id, task.taskid, task.run, lease.attempt),
            script=project.script,
            body=task.body,
            start_ms=start_ms,
            retried=task.retried,
            lastcrawl_ms=task.lastcrawl_ms,
            track=task.track,
        )

    def _introduce(self, session: Session, project: Project) -> None:
        """Send a project's facts to a slave that does not have them as they are now."""
        deletions = project.counts.get(FIRST_RUN, 0)
        told = None if project.info is None else project.info.told
        version = (project.id, project.script)
        state = (project.updated_ms, deletions, -1 if told is None else told.at_ms)  # it may have been told anew since
        if session.told.get(version) == state:
            return
        session.told[version] = state
        info = project.info or ScriptInfo()
        self._hub.send(
            session.route,
            m.ProjectInfo(
                project=project.id,
                name=project.name,
                group=project.group,
                status=project.status.value,
                rate=project.rate,
                burst=project.burst,
                updated_ms=project.updated_ms,
                script=project.script,
                crawl_config=info.crawl_config,
                generation=b"%b %d %d" % (self._cluster, self._epoch, deletions),
            ),
        )
