"""Messages that scripts have sent with `send_message()`, on their way to become tasks. It knows no database."""

from collections.abc import Iterator, Mapping

from zspider.delivery import Follow, Message, Outcome
from zspider.storage.counter_names import DROPPED
from zspider.storage.report import Committed
from zspider.task import Ref, message_taskid, task_key

NO_PROJECT = "no such project"  # why a message is dropped


class SentMessages:
    """The messages of one batch, in the order in which they were sent."""

    def __init__(self, report: Committed) -> None:
        """report: the batch's report; dropped messages are counted in it."""
        self._report = report
        self._messages: list[tuple[int, str, Message]] = []  # (sending project, taskid it will have, message)

    @property
    def receivers(self) -> set[str]:
        """Names of the projects that messages go to."""
        return {message.receiver for _, _, message in self._messages}

    def add(self, outcome: Outcome) -> None:
        """Remember the messages of a run that has ended."""
        sender = (outcome.project, outcome.taskid, outcome.run)
        self._messages += (
            (outcome.project, message_taskid(*sender, index), message) for index, message in enumerate(outcome.messages)
        )

    def delivered(self, projects: Mapping[str, int]) -> Iterator[tuple[Ref, Follow]]:
        """Yield the messages as tasks of their receivers, and count those that have none.

        projects: the ids of the projects that may be written to, by name.
        """
        for sender, taskid, message in self._messages:
            project = projects.get(message.receiver)
            if project is None:
                self._report.counts[sender][DROPPED + NO_PROJECT] += 1
                self._report.undelivered[message.receiver] += 1
            else:
                yield Ref(project, task_key(taskid)), message.as_follow(taskid)
