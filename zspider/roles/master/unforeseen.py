"""Errors that nobody foresaw: logged with a traceback, and answered in one line that says how to find it."""

import secrets

import structlog

from zspider.errors import InternalError

log = structlog.get_logger(__name__)


def unforeseen(error: BaseException, where: str, **keys: object) -> InternalError:
    """Log `error` as `internal_error`, and return the error to answer with.

    where: what was being done, for the log. keys: more keys for the log line.
    """
    mark = secrets.token_hex(4)
    log.error("internal_error", where=where, mark=mark, **keys, exc_info=error)
    return InternalError(
        f"internal error in {where}: {type(error).__name__}; "
        f"the master's log has its traceback, look for internal_error mark={mark}"
    )
