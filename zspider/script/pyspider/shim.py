"""pyspider's module names, served from our own parts when pyspider is not installed (docs/pyspider-behaviour.md 2.1).

`install()` is called by what runs scripts, never by importing zspider.
"""

import fractions
import functools
import inspect
import sys
import types
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pprint import pprint
from typing import Any

from zspider.script import decorators, handler
from zspider.script.crawl import curl, multipart, urls
from zspider.script.page import response
from zspider.script.pyspider import compat


def _base_handler() -> dict[str, Any]:
    """Return all the names that a star import of pyspider.libs.base_handler gives."""
    import six  # 4 ms that only pyspider's scripts pay

    return {
        "BaseHandler": handler.BaseHandler,
        "BaseHandlerMeta": handler.BaseHandlerMeta,
        "catch_status_code_error": decorators.catch_status_code_error,
        "not_send_status": decorators.not_send_status,
        "config": decorators.config,
        "every": decorators.every,
        "NOTSET": compat.NOTSET,
        "ProcessorResult": compat.ProcessorResult,
        "ListO": compat.ListO,
        "md5string": compat.md5string,
        "timeout": compat.timeout,
        "pprint": pprint,
        "quote_chinese": urls.quote_chinese,
        "curl_to_arguments": curl.curl_to_arguments,
        "rebuild_response": response.rebuild_response,
        "add_metaclass": six.add_metaclass,
        "iteritems": six.iteritems,
        "six": six,
        "sys": sys,
        "inspect": compat.module_with(inspect, getargspec=compat.getargspec),
        "functools": functools,
        "fractions": compat.module_with(fractions, gcd=compat.gcd),
    }


def _utils() -> dict[str, Any]:
    names = ("md5string", "utf8", "text", "unicode_string", "unicode_obj", "unicode_dict", "unicode_list", "timeout")
    return {name: getattr(compat, name) for name in (*names, "python_console")} | {"quote_chinese": urls.quote_chinese}


_PACKAGES = ("pyspider", "pyspider.libs", "libs")
_LIBS: dict[str, Callable[[], dict[str, Any]]] = {
    "base_handler": _base_handler,
    "response": lambda: {"Response": response.Response, "rebuild_response": response.rebuild_response},
    "utils": _utils,
    "url": lambda: {
        "quote_chinese": urls.quote_chinese,
        "curl_to_arguments": curl.curl_to_arguments,
        "_build_url": urls.build_url,
        "_encode_params": urls.encode_params,
        "_encode_multipart_formdata": multipart.encode_multipart,
    },
    "dataurl": lambda: {"encode": compat.encode_dataurl, "decode": compat.decode_dataurl},
}
_MODULES: dict[str, Callable[[], dict[str, Any]]] = {
    **{name: lambda: {"__path__": []} for name in _PACKAGES},
    **{f"pyspider.libs.{name}": names for name, names in _LIBS.items()},
    **{f"libs.{name}": names for name, names in _LIBS.items()},  # as before pyspider was a package
    "pyspider.result": lambda: {"ResultWorker": compat.ResultWorker},
    "pyspider.database": lambda: {"connect_database": compat.connect_database},
}


class ShimFinder(MetaPathFinder, Loader):
    """Finds the modules of `_MODULES`. Stands last on sys.meta_path, so that real ones win."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for a name of ours, else None."""
        if fullname not in _MODULES:
            return None
        return ModuleSpec(fullname, self, is_package=fullname in _PACKAGES)

    def exec_module(self, module: types.ModuleType) -> None:
        """Fill the module."""
        vars(module).update(_MODULES[module.__name__]())


def install() -> None:
    """Make pyspider's names importable in this process; again is harmless."""
    if not any(isinstance(finder, ShimFinder) for finder in sys.meta_path):
        sys.meta_path.append(ShimFinder())
