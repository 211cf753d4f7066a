"""State of the interpreter that a callback may change, and that is put back for the next page."""

import _signal  # type: ignore[import-not-found] # not `signal`: its enums cost ten times as much
import builtins
import gc
import json
import sys
import threading
import time
import warnings
from types import TracebackType

# What a page's end looks at; scripts have no use for the others, or cannot change them.
_SIGNALS = (
    *(_signal.SIGALRM, _signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGCHLD),
    *(_signal.SIGUSR1, _signal.SIGUSR2, _signal.SIGPIPE, _signal.SIGVTALRM, _signal.SIGPROF),
)
_NOT_BLOCKED = (_signal.SIGALRM, _signal.SIGTERM)
_NAMES = (vars(builtins), vars(time), vars(json))  # of what everything is made with
_known = tuple(names.copy() for names in _NAMES)  # how scripts found them, or left them when they were loaded
_ANY_ERROR, _enumerate, _tuple = BaseException, enumerate, tuple  # by themselves: `builtins` may lack them
_MAIN = threading.main_thread().ident
_get_ident = threading.get_ident
_getsignal, _setsignal, _sigmask = _signal.getsignal, _signal.signal, _signal.pthread_sigmask
_setitimer = _signal.setitimer


class Kept:
    """`with Kept(): ...` puts back how the block found it what a callback may have changed.

    Recursion limit, trace functions, garbage collection, hooks for errors, filters of warnings, handlers of signals
    (not blocked ones), and the names in `builtins`, `time` and `json`; names that are new there stay.
    What a script sets while it is loaded stays: that is meant for all its pages.
    """

    __slots__ = ("_collects", "_filters", "_handlers", "_hooks", "_profile", "_recursion", "_shown", "_trace")

    def __enter__(self) -> "Kept":
        self._recursion, self._trace, self._profile = sys.getrecursionlimit(), sys.gettrace(), sys.getprofile()
        self._collects = gc.isenabled()
        self._hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
        self._filters, self._shown = warnings.filters, warnings.filters[:]
        self._handlers = [_getsignal(number) for number in _SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if _known != _NAMES:
                _restore_names()
        except _ANY_ERROR:  # what stands there now cannot be compared
            _restore_names()
        if sys.gettrace() is not self._trace:
            sys.settrace(self._trace)
        if sys.getprofile() is not self._profile:
            sys.setprofile(self._profile)
        sys.setrecursionlimit(self._recursion)
        if self._collects:
            gc.enable()
        sys.excepthook, sys.unraisablehook, threading.excepthook = self._hooks
        if warnings.filters is not self._filters or self._filters != self._shown:
            self._filters[:] = self._shown  # type: ignore[index] # it is a list
            warnings.filters = self._filters
            warnings._filters_mutated()  # type: ignore[attr-defined] # as `catch_warnings` does
        if _get_ident() == _MAIN:
            self._restore_signals()

    def _restore_signals(self) -> None:
        _sigmask(_signal.SIG_UNBLOCK, _NOT_BLOCKED)
        if [_getsignal(number) for number in _SIGNALS] == self._handlers:
            return
        _setitimer(_signal.ITIMER_VIRTUAL, 0)  # who starts them has set a handler, or is dead
        _setitimer(_signal.ITIMER_PROF, 0)
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if handler is not None and _getsignal(number) is not handler:
                _setsignal(number, handler)


def accept_names() -> None:
    """Take the names of `builtins`, `time` and `json` as a script that was loaded has left them."""
    global _known
    _known = _tuple([names.copy() for names in _NAMES])


def _restore_names() -> None:
    for number, names in _enumerate(_NAMES):
        names.update(_known[number])
    accept_names()  # with those that are new
