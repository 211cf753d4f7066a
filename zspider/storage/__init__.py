"""The database: the one place that remembers. The master owns it; slaves never see it."""

from zspider.storage.bulk import Change, Step
from zspider.storage.engine import BadDatum
from zspider.storage.opening import open_storage, schema_state, upgrade
from zspider.storage.reader import Reader
from zspider.storage.report import Committed, Ended, Ownership
from zspider.storage.results import StoredResult
from zspider.storage.retention import Cutoffs, Place, RetentionStep
from zspider.storage.storage import Storage
from zspider.storage.tasks import TaskDetail
from zspider.storage.walk import Cursor, Selection

__all__ = [
    "BadDatum",
    "Change",
    "Committed",
    "Cursor",
    "Cutoffs",
    "Ended",
    "Ownership",
    "Place",
    "Reader",
    "RetentionStep",
    "Selection",
    "Step",
    "Storage",
    "StoredResult",
    "TaskDetail",
    "open_storage",
    "schema_state",
    "upgrade",
]
