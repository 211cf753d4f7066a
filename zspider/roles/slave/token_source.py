"""Where a slave's token comes from: looked for at the start, and again each time it may have changed."""

import os
from collections.abc import Callable

import structlog

from zspider.broker.token import Found, Token, find_token, is_missing
from zspider.errors import ConfigError, DeniedError
from zspider.settings import SlaveFile

log = structlog.get_logger(__name__)
ADVICE = "copy the text that `zspiderd token show` prints on the master to {where}, or set ZSPIDER_TOKEN"
DEFAULT_PLACE = "/etc/zspider/join.token"

Find = Callable[[], Found | None]


class TokenSource:
    """Reads the join token; what is wrong with it is said once, until it changes."""

    def __init__(self, settings: SlaveFile, find: Find | None = None, *, is_needed: bool = True) -> None:
        """find: finds the token instead of a search in the usual places.

        is_needed: False for a master without security, which takes no token.
        """
        self.where = ""  # of the last token
        self.is_needed = is_needed
        self._file = settings.token_file
        self._find = find or (lambda: find_token("join", settings.token_file, settings.data_dir, os.environ))
        self._complaint = ""

    def first(self) -> Token | None:
        """Return the token, None while there is none. Raises ConfigError for a malformed one, DeniedError."""
        if not self.is_needed:
            return None
        is_gone = self._file is not None and is_missing(self._file)
        found = None if is_gone else self._find()
        if found is None:
            self._complain("token_missing", advice=ADVICE.format(where=self._file or DEFAULT_PLACE))
            return None
        self.where, self._complaint = found.where, ""
        return found.token

    def again(self) -> Token | None:
        """Return the token now; None when there is none that can be used: never an error, the daemon waits."""
        try:
            return self.first()
        except (ConfigError, DeniedError, OSError) as exc:  # OSError: no descriptor is left, say
            self._complain("token_unusable", reason=str(exc))
            return None

    def _complain(self, event: str, **keys: str) -> None:
        if (complaint := f"{event} {keys}") != self._complaint:
            self._complaint = complaint
            log.warning(event, **keys)
