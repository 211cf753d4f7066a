"""Late binding: a project's `crawl_config` fills in what a task's own options leave open. Pure.

Source: docs/pyspider-behaviour.md 2.5.
"""

from collections.abc import Mapping
from typing import Any

# The options of `crawl()` that belong to `fetch` and to `process` (docs/pyspider-behaviour.md 2.3). Those of `schedule`
# were settled when the task was submitted.
FETCH_KEYS = (
    "method", "headers", "user_agent", "data", "cookies", "connect_timeout", "timeout", "allow_redirects",
    "max_redirects", "proxy", "etag", "last_modified", "last_modifed", "use_gzip", "validate_cert",
    "robots_txt", "fetch_type", "js_script", "js_run_at", "js_viewport_width", "js_viewport_height",
    "load_images", "save",
)  # fmt: skip
PROCESS_KEYS = ("callback", "process_time_limit")

Options = Mapping[str, Any]


class LateConfig:
    """The options of a `crawl_config` that are bound when a task starts; made once per script version."""

    def __init__(self, crawl_config: Options) -> None:
        self._fetch = {key: crawl_config[key] for key in FETCH_KEYS if key in crawl_config}
        self._process = {key: crawl_config[key] for key in PROCESS_KEYS if key in crawl_config}

    def fetch(self, own: dict[str, Any]) -> dict[str, Any]:
        """Return a task's fetch options, completed."""
        return _completed(own, self._fetch) if self._fetch else own

    def process(self, own: dict[str, Any]) -> dict[str, Any]:
        """Return a task's process options, completed."""
        return _completed(own, self._process) if self._process else own


def _completed(own: dict[str, Any], config: Options) -> dict[str, Any]:
    """Return the task's options with gaps filled; two dicts are merged, and the task's entries win."""
    merged = {**config, **own}
    for key, value in config.items():
        mine = own.get(key)
        if isinstance(value, dict) and isinstance(mine, dict):
            merged[key] = {**value, **mine}
    return merged
