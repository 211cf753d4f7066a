"""Reading settings: YAML file < environment (ZSPIDER_...) < flags; checked once, with all errors at once."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from zspider.errors import ConfigError
from zspider.settings import MasterFile, Section, SlaveFile

ENV_PREFIX = "ZSPIDER_"
# Variables that are no settings: the token of a slave, and what the project's own tests are told.
_NOT_SETTINGS = re.compile(r"ZSPIDER_(?:TOKEN$|ADMIN_TOKEN$|TEST_|BENCH_)")
VALUE_CHARS_MAX = 80
FILE_BYTES_MAX = 256 * 1024  # YAML is read while slaves wait for their heartbeat
# A beat must come well before a slave is suspected or thinks itself alone, and both before its leases end.
_ORDERED = (("heartbeat_s", "suspect_s"), ("suspect_s", "lease_s"), ("heartbeat_s", "quiet_s"), ("quiet_s", "lease_s"))

Path_ = tuple[str, ...]
Kind = TypeVar("Kind", MasterFile, SlaveFile)


def load(
    kind: type[Kind],
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Kind:
    """Read the settings of a master or a slave.

    file: the configuration file; None for none. flags: dotted setting -> value; None for a flag that was not given.
    environment: variables to read; os.environ when None.
    Raises ConfigError with one line per problem: where it comes from, the setting's path, what was got.
    """
    values = _read(file) if file else {}
    origins: dict[Path_, str] = {}
    problems: list[str] = []
    for path, name, text in _from_environment(kind, os.environ if environment is None else environment, problems):
        _put(values, path, text)
        origins[path] = name
    for dotted, flag in (flags or {}).items():
        if flag is not None:
            path = tuple(dotted.split("."))
            _put(values, path, flag)
            origins[path] = _flag_name(path)
    try:
        settings = kind.model_validate(_prepared(kind, values))
    except ValidationError as exc:
        problems += _texts(kind, exc.errors(), origins, str(file) if file else "settings")
    else:
        problems += _contradictions(settings)
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def trial_settings() -> SlaveFile:
    """Return a slave's settings without a file, for trying a page; private sites are allowed, as in `zspiderd run`."""
    return load(SlaveFile, flags={"fetch.private_networks": "allow"})


def kind_of(file: Path) -> type[MasterFile] | type[SlaveFile]:
    """Guess whether a file is a master's or a slave's: by its name, else by settings that only one of them has."""
    if "slave" in file.name:
        return SlaveFile
    only_slave = set(SlaveFile.model_fields) - set(MasterFile.model_fields)
    return SlaveFile if only_slave & set(_read(file)) else MasterFile


def leaves(section: type[Section], prefix: Path_ = ()) -> dict[Path_, Any]:
    """Return every single setting of a file and its field, by its path."""
    found: dict[Path_, Any] = {}
    for name, field in section.model_fields.items():
        if _is_section(field.annotation):
            found |= leaves(field.annotation, (*prefix, name))
        else:
            found[(*prefix, name)] = field
    return found


class _Loader(yaml.SafeLoader):
    """YAML's safe loader; a key given twice is an error, since one of the two would be ignored."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key!r} stands here a second time", problem_mark=key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep)


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_BYTES_MAX + 1)
        if len(raw) > FILE_BYTES_MAX:
            raise ConfigError(f"{file}: has more than {FILE_BYTES_MAX} bytes; is it a file of settings?")
        text = raw.decode()
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file}: is not UTF-8 text: {exc.reason} at byte {exc.start}") from exc
    try:
        values = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as exc:
        line = f":{exc.problem_mark.line + 1}" if exc.problem_mark else ""
        raise ConfigError(f"{file}{line}: is not YAML: {exc.problem or exc.context}") from exc
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as exc:
        raise ConfigError(f"{file}: is not YAML: {' '.join(str(exc).split())}") from exc
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: must hold settings as `name: value`, not a {type(values).__name__}")
    return values


def _from_environment(
    kind: type[Section], environment: Mapping[str, str], problems: list[str]
) -> list[tuple[Path_, str, str]]:
    """Return the settings in the environment, as (path, variable, text). An empty variable counts as not set."""
    mine = leaves(kind)
    everybodys = leaves(MasterFile).keys() | leaves(SlaveFile).keys()
    found = []
    for name, text in sorted(environment.items()):
        if not name.startswith(ENV_PREFIX) or _NOT_SETTINGS.match(name):
            continue
        path = tuple(name.removeprefix(ENV_PREFIX).lower().split("__"))
        if path not in everybodys:  # one environment file may serve a master and its slaves
            near = [leaf for leaf in mine if leaf[0] == path[0]] or list(mine)
            problems.append(f"{name}: unknown setting; {_known([_variable(leaf) for leaf in near], name)}")
        elif path in mine and text:
            found.append((path, name, text))
    return found


def _prepared(section: type[Section], values: Mapping[str, Any]) -> dict[str, Any]:
    """Read what people write: an empty section is {}, and a list may be given as a,b."""
    ready: dict[str, Any] = {}
    for name, value in values.items():
        field = section.model_fields.get(name) if isinstance(name, str) else None
        if field and _is_section(field.annotation):
            given = {} if value is None else value
            ready[name] = _prepared(field.annotation, given) if isinstance(given, dict) else given
        elif field and get_origin(field.annotation) is tuple and isinstance(value, str):
            ready[name] = [part.strip() for part in value.split(",")]
        else:
            ready[str(name)] = value
    return ready


def _texts(kind: type[Section], errors: list[ErrorDetails], origins: Mapping[Path_, str], file: str) -> list[str]:
    paths = [tuple(str(part) for part in error["loc"]) for error in errors]
    lines = []
    for path, error in zip(paths, errors, strict=True):
        if any(other[: len(path)] == path and other != path for other in paths):
            continue  # only follows from a more exact one
        origin = next((origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins), file)
        lines.append(f"{origin}: {'.'.join(path)}: {_problem(kind, path, error)}")
    return lines


def _problem(kind: type[Section], path: Path_, error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        section: Any = kind
        for name in path[:-1]:
            section = get_args(section)[0] if name.isdigit() else section.model_fields[name].annotation
        return f"unknown setting; {_known(list(section.model_fields), path[-1])}"
    text = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if error["type"] == "model_type":
        text = "should be a group of settings"
    return f"{text}, got {_shown(path, error['input'])}"


def _known(names: list[str], wrong: str) -> str:
    near = difflib.get_close_matches(wrong, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}known are: {', '.join(sorted(names))}"


def _shown(path: Path_, value: object) -> str:
    """Return a value for an error's text: short, and without what may be a password of a URL."""
    text = repr(value)
    if path and path[-1] in ("database", "proxy") and "@" in text:
        text = f"***@{text.rpartition('@')[2]}"
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}..."


def _contradictions(settings: MasterFile | SlaveFile) -> list[str]:
    """Return an error for each group of settings that are allowed one by one, but not together."""
    if isinstance(settings, SlaveFile):
        return []
    master = settings.master
    problems = []
    for small, large in _ORDERED:
        low, high = getattr(master, small), getattr(master, large)
        if low >= high:
            problems.append(f"master.{small}: must be below master.{large} ({high:g}), got {low:g}")
    return problems


def _put(values: dict[str, Any], path: Path_, value: object) -> None:
    *groups, name = path
    for group in groups:
        inner = values.get(group)
        if not isinstance(inner, dict):  # None, or a mistake in the file that this value replaces
            inner = values[group] = {}
        values = inner
    values[name] = value


def _is_section(annotation: object) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _variable(path: Path_) -> str:
    return ENV_PREFIX + "__".join(path).upper()


def _flag_name(path: Path_) -> str:
    """Return the flag of a setting: its last word, but `log.level` is --log-level."""
    return "--" + ("-".join(path) if path[0] == "log" else path[-1]).replace("_", "-")
