"""Which slaves cannot load which scripts, and when they try again. Times are monotonic seconds."""

from collections.abc import Mapping
from math import inf

from zspider.scheduler.leases import Session
from zspider.scheduler.project_queue import ProjectQueue
from zspider.scheduler.projects import ProjectState


class ScriptLoads:
    """Bars slaves from the scripts that they could not load, for a while."""

    def __init__(
        self, projects: Mapping[int, ProjectState], sessions: Mapping[bytes, Session], queue: ProjectQueue
    ) -> None:
        """All of these are the core's, and shared with it."""
        self._projects = projects
        self._sessions = sessions
        self._queue = queue
        self._unbar_at = inf  # when the first script is tried again

    def why_unloadable(self, project: int) -> str:
        """Return why no slave can load a project's script; "" if one may be able to, or there is none."""
        state = self._projects[project]
        script = (project, state.project.script)
        fetchers = [session for session in self._sessions.values() if "fetcher" in session.roles]
        is_barred = bool(fetchers) and all(script in session.barred for session in fetchers)
        return state.load_failure.error if is_barred or state.load_failure.has_given_up else ""

    def ask_anew(self, project: int) -> None:
        """Forget what a project's script declares and which slaves cannot load it; all may be asked."""
        state = self._projects[project]
        state.ask_anew()
        self._unbar(state)

    def failed(self, project: int, session_id: bytes, error: str, lacks: str = "") -> None:
        """Note that a slave was asked what a script declares and cannot load it: it rests, and others are asked.

        The slave may be one that only processes: then no slave without processors is asked, as it asks just such a one.
        lacks: the project that the script imports and that was not to be had.
        """
        state, session = self._projects.get(project), self._sessions.get(session_id)
        if state is None or session is None:
            return
        is_fetcher = "fetcher" in session.roles
        failed = [session] if is_fetcher else [one for one in self._sessions.values() if "processor" not in one.roles]
        for one in failed:
            one.barred.add((project, state.project.script))
        state.load_failure.note(error, session.host, lacks=lacks)
        self._queue.touch(project)

    def step(self, now: float) -> None:
        """Let slaves have tasks again of scripts that they could not load, where that is due."""
        for project in self._queue.touched:
            state = self._projects.get(project)
            if state is not None and state.load_failure.is_new:
                self._unbar_at = min(self._unbar_at, state.load_failure.begin(now))
        if now < self._unbar_at:
            return
        for state in self._projects.values():
            if state.load_failure.until <= now:
                state.load_failure.lift(now)
                self._unbar(state)
        self._unbar_at = min((state.load_failure.until for state in self._projects.values()), default=inf)

    def _unbar(self, state: ProjectState) -> None:
        for session in self._sessions.values():
            session.barred.discard((state.project.id, state.project.script))
        self._queue.touch(state.project.id)
