"""The names that a script needs: `from zspider import BaseHandler, config, every`.

The names are loaded when they are first used, so that `import zspider` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zspider.script.decorators import catch_status_code_error, config, every, not_send_status
    from zspider.script.handler import BaseHandler
    from zspider.script.page.response import Response

__version__ = "0.1.0"
__all__ = [
    "BaseHandler",
    "Response",
    "__version__",
    "catch_status_code_error",
    "config",
    "every",
    "not_send_status",
]

_HOMES = {
    "BaseHandler": "zspider.script.handler",
    "Response": "zspider.script.page.response",
    "catch_status_code_error": "zspider.script.decorators",
    "config": "zspider.script.decorators",
    "every": "zspider.script.decorators",
    "not_send_status": "zspider.script.decorators",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
