"""`from projects import other`: another project's script as a module (docs/pyspider-behaviour.md 2.1)."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NamedTuple

from zspider.script.errors import ProjectImportError
from zspider.script.loader import Source, execute

PACKAGE = "projects"
MODULES_MAX = 200  # kept for those who import them next


class ProjectText(NamedTuple):
    """A project's current script."""

    script: bytes  # its hash
    status: str
    text: str


class ProjectFinder(MetaPathFinder):
    """Finds `projects` and `projects.NAME`. One module per script version is made in a process, for all who import it.

    ask: returns a project's script, None if there is no such project; raises ProjectImportError if no answer came.
    """

    def __init__(self, ask: Callable[[str], ProjectText | None]) -> None:
        self._ask = ask
        self._modules: OrderedDict[tuple[str, bytes], ModuleType] = OrderedDict()

    def install(self) -> None:
        """Install it before all other finders: they would take any directory named `projects` for a package."""
        sys.meta_path.insert(0, self)

    def forget_imports(self) -> None:
        """Forget what was imported, so that the next script that is loaded asks for it again."""
        for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
            del sys.modules[name]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for a name of ours, else None. Raises ProjectImportError for an unknown project."""
        package, _, name = fullname.partition(".")
        if package != PACKAGE:
            return None
        if not name:
            return ModuleSpec(fullname, _Package(), is_package=True)
        found = self._ask(name)
        if found is None:
            reason = (
                f"no project named {name!r} on this master: push it there (`zspiderd run` knows its own script only)"
            )
            raise ProjectImportError(name, reason)
        return ModuleSpec(fullname, _ProjectLoader(name, found, self._modules), origin=f"<{name}>")


class _Package(Loader):
    """Makes `projects` itself, which is empty."""

    def exec_module(self, module: ModuleType) -> None:
        pass


class _ProjectLoader(Source, Loader):
    """Makes one project's module, or gives the one that was made before."""

    def __init__(self, name: str, found: ProjectText, modules: OrderedDict[tuple[str, bytes], ModuleType]) -> None:
        super().__init__(name, found.text)
        self._status = found.status
        self._key = (name, found.script)
        self._modules = modules

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._modules.get(self._key)

    def exec_module(self, module: ModuleType) -> None:
        if self._key not in self._modules:
            execute(module, {"name": self.name, "status": self._status}, self.text, self)
            self._modules[self._key] = module
        self._modules.move_to_end(self._key)
        if len(self._modules) > MODULES_MAX:
            self._modules.popitem(last=False)
