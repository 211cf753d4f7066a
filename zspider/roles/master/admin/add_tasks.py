"""The arguments and the answer of `tasks.add`, by which URLs become tasks of a project."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from zspider.delivery import Follow
from zspider.errors import ConfigError
from zspider.storage import Committed
from zspider.task import ADD_URLS_MAX, Url, usual_taskid

_Urls = Annotated[list[Url], msgspec.Meta(min_length=1, max_length=ADD_URLS_MAX)]


class AddRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of `tasks.add`. `like` has what the tasks share; its own taskid and URL are not used."""

    project: str
    urls: _Urls
    like: Follow

    def follows(self) -> list[Follow]:
        """Return the URLs as storage takes them; each task has the id that `crawl()` gives by default."""
        like = self.like
        rest = [getattr(like, name) for name in Follow.__struct_fields__[2:]]
        return [Follow(usual_taskid(url), url, *rest) for url in self.urls]


def read_request(args: Mapping[str, Any]) -> AddRequest:
    """Return the arguments, checked. Raises ConfigError that says what is wrong."""
    try:
        return msgspec.convert(args, AddRequest)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"tasks.add: {exc}") from exc


def summary(request: AddRequest, report: Committed) -> dict[str, int]:
    """Return how many tasks wait because of these URLs, and how many URLs were dropped."""
    dropped = report.dropped.total()
    return {"added": len(request.urls) - dropped, "dropped": dropped}
