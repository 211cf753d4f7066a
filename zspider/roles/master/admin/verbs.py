"""The administration: the table of all verbs that the command line says to the master over the control socket.

A new verb takes five steps:

1. a method with a `Request` in one of the classes of this folder, such as `TaskVerbs`;
2. a line in `_table` below;
3. a command in `cli/`, and for a new word after `zspiderd` a line in `VERBS` of `cli/app.py`;
4. its arguments in `VERBS` of tests/support/admin_fuzz.py;
5. a case in `cli/offline.py` if it works without a master, from the database alone.
"""

from collections.abc import Callable

from zspider.broker import messages as m
from zspider.broker.codec import unpack
from zspider.broker.hub import Hub, Peer
from zspider.errors import ConfigError
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.admin.bulk import BulkVerbs
from zspider.roles.master.admin.projects import ProjectVerbs
from zspider.roles.master.admin.request import Request, shortened
from zspider.roles.master.admin.status import HostVerbs, ProjectRows, StatusVerb
from zspider.roles.master.admin.tasks import TaskVerbs
from zspider.roles.master.admin.threads import AdminThreads
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.project_removal import ProjectRemovals
from zspider.roles.master.writer_thread import WriterThread
from zspider.settings import MasterFile


class Admin:
    """Answers AdminRequests: each verb is a method that checks its own arguments.

    What goes wrong is answered as one line with an exit code, whatever it is.
    """

    def __init__(
        self,
        hub: Hub,
        coordinator: Coordinator,
        writer: WriterThread,
        threads: AdminThreads,
        removals: ProjectRemovals,
        settings: MasterFile,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """writer: asked how far the database is behind; verbs write through `threads`."""
        self._hub = hub
        rows = ProjectRows(coordinator, settings.limits.waiting, clock)
        status = StatusVerb(coordinator, writer, settings, rows, clock)
        bulk = BulkVerbs(coordinator, threads, clock)
        projects = ProjectVerbs(coordinator, threads, removals, bulk.jobs, rows, clock)
        tasks = TaskVerbs(coordinator, writer, threads, clock)
        self._verbs = _table(status, projects, tasks, bulk, HostVerbs(coordinator))

    def handle(self, peer: Peer, message: m.AdminRequest) -> None:
        """Run one verb; the answer may come in a later step of the loop."""
        request = Request(self._hub, peer, message)
        request.attempt(lambda: self._run(request, message))

    def _run(self, request: Request, message: m.AdminRequest) -> None:
        if message.protocol != m.PROTOCOL:
            raise ConfigError(f"this master speaks protocol {m.PROTOCOL}, the command {message.protocol}")
        if message.verb not in self._verbs:
            raise ConfigError(f"unknown verb {shortened(message.verb)}, known: {', '.join(self._verbs)}")
        args = unpack(message.args)
        if not isinstance(args, dict):
            raise ConfigError(f"{message.verb}: the arguments are no map, but {shortened(args)}")
        request.args = args
        self._verbs[message.verb](request)


def _table(
    status: StatusVerb, projects: ProjectVerbs, tasks: TaskVerbs, bulk: BulkVerbs, hosts: HostVerbs
) -> dict[str, Callable[[Request], None]]:
    """Return what answers each verb; errors list the verbs in this order."""
    return {
        "status": status.answer,
        "project.push": projects.push,
        "project.list": projects.list_all,
        "project.show": projects.show,
        "project.start": projects.start,
        "project.stop": projects.stop,
        "project.pause": projects.pause,
        "project.resume": projects.resume,
        "project.set": projects.change,
        "project.rm": projects.remove,
        "message.send": tasks.send_message,
        "tasks": tasks.list_tasks,
        "tasks.add": tasks.add,
        "task": tasks.show_task,
        "results": tasks.list_results,
        "why": tasks.why,
        "tasks.retry": bulk.retry,
        "tasks.recrawl": bulk.recrawl,
        "tasks.drop": bulk.drop,
        "results.clear": bulk.clear,
        "task.retry": bulk.retry_one,
        "task.rm": bulk.remove_one,
        "host.resume": hosts.resume,
    }
