"""The names of all files that zspider writes into a data directory."""

DATABASE = "zspider.db"  # SQLite's file, unless another database is named
MASTER_KEY = "master.key"
CLUSTER_SECRET = "cluster.secret"  # noqa: S105 - the name of a file
TOKENS = "tokens.yaml"
OWNER_ID = "owner.id"  # by which a master knows the database as its own; locked while one runs
PORTS = "master.ports"  # a running master writes there where it listens
NEW_PORTS = "master.new"  # becomes PORTS once it is written in whole
LOCAL_SLAVE = "local-slave"  # the name of its token
LOCAL_SLAVE_CONFIG = "local-slave.yaml"
LOCAL_SLAVE_LOCK = "local-slave.lock"  # held by the slave; has its process id in it

# Of `zspiderd run`:
RUN_MARK = "run.json"  # says that `zspiderd run` made this directory
RUN_LOCK = "run.lock"  # held by a run
CHILD_LOCK = "children.lock"  # held by what a run started, so by nobody only when the last of it has ended


def lock_file_name(database: str) -> str:
    """Return the name of the file that a master locks beside SQLite's; `database` is the name or path of that."""
    return f"{database}.lock"


def new_file_name(name: str) -> str:
    """Return the name under which a secret file is written before it takes the place of the old one."""
    return f".{name}.new"


def token_file_name(name: str) -> str:
    """Return the name of the file with a token: "join", "admin" or one that a master made for itself."""
    return f"{name}.token"


def log_file_name(name: str) -> str:
    """Return the name of the log of a process that `zspiderd run` starts: "master", "slave" or "demo-site"."""
    return f"{name}.log"


# What one crawl leaves, and starting it anew deletes. Locks stay: somebody may hold them.
OF_A_CRAWL = (
    *(DATABASE + part for part in ("", "-wal", "-shm", "-journal")),  # SQLite's
    *(token_file_name(name) for name in ("join", "admin", LOCAL_SLAVE)),
    TOKENS,
    MASTER_KEY,
    CLUSTER_SECRET,
    OWNER_ID,
    PORTS,
    *(log_file_name(name) for name in ("master", "slave", "demo-site")),
)
