"""The database: the one place that remembers. The master owns it; slaves never see it."""

from zspider.storage.engine import BadDatum
from zspider.storage.report import Committed, Ended, Ownership
from zspider.storage.results import StoredResult
from zspider.storage.storage import Reader, Storage, open_storage, schema_state, upgrade
from zspider.storage.tasks import TaskDetail

__all__ = [
    "BadDatum",
    "Committed",
    "Ended",
    "Ownership",
    "Reader",
    "Storage",
    "StoredResult",
    "TaskDetail",
    "open_storage",
    "schema_state",
    "upgrade",
]
