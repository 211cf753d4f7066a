"""Every setting, declared once: the file, the environment, the flags, conf/*.yaml and the docs are made from this.

Read once in `cli/`, checked, then passed down as values; no other module reads the environment.
"""

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from zspider.data_dir import DATABASE

CONTROL_PORT = 5570
SYSTEM_DATA_DIR = Path("/var/lib/zspider")  # of the master that this machine runs as a service
HOME_DATA_DIR = Path(".local", "share", "zspider")


def default_data_dir() -> Path:
    """Return systemd's; /var/lib/zspider for root and users who may write there, as the service's user may; else
    ~/.local/share/zspider. A user without a home gets /var/lib/zspider, and is told what is wrong with it on use.
    """
    if state := os.environ.get("STATE_DIRECTORY"):  # systemd's StateDirectory=
        return Path(state.split(":")[0])
    if os.access(SYSTEM_DATA_DIR, os.W_OK | os.X_OK, effective_ids=True) or os.geteuid() == 0:
        return SYSTEM_DATA_DIR
    try:
        return Path.home() / HOME_DATA_DIR
    except RuntimeError:  # a user that no password file knows, without HOME
        return SYSTEM_DATA_DIR


class Section(BaseModel):
    """A group of settings. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class LogSettings(Section):
    """`log`: what the daemon says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level to log")
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, plain lines in a pipe"
    )


class LimitSettings(Section):
    """`limits`: how much one page or one process may ask for."""

    follows: int = Field(
        1_000_000,
        ge=1,
        le=100_000_000,
        description="most URLs one callback run may submit; above it the task fails",
    )
    outcome_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        le=40 * 1024 * 1024,
        description="most bytes of one outcome; above it the task fails",
    )


class MasterLimitSettings(LimitSettings):
    """`limits` in conf/master.yaml: those of the local slave, and the master's own."""

    waiting: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="most tasks of one project that wait; new URLs above it are refused and counted; 0: no limit",
    )


class FetchSettings(Section):
    """`fetch`: how pages are downloaded; a script's own options come first."""

    user_agent: str = Field(
        "zspider/0.1 (+https://github.com/zspider/zspider)",
        min_length=1,
        description="default User-Agent of requests",
    )
    timeout_s: float = Field(
        120.0, gt=0, le=3600, description="most seconds for a whole fetch, redirects included (pyspider's default)"
    )
    connect_timeout_s: float = Field(20.0, gt=0, le=600, description="most seconds for DNS, TCP and TLS")
    proxy: str | None = Field(None, description="HTTP proxy for all fetches, [user:password@]host[:port]")
    body_bytes_max: int = Field(
        32 * 1024 * 1024,
        ge=1024,
        le=46 * 1024 * 1024,
        description="most decoded bytes of a page; a larger one fails",
    )
    header_bytes_max: int = Field(
        256 * 1024, ge=1024, le=4 * 1024 * 1024, description="most bytes of response headers; more fails"
    )
    private_networks: Literal["allow", "deny"] = Field(
        "deny",
        description="deny: refuse redirects and links from public pages to loopback, link-local or private addresses",
    )


class ProcessorSettings(Section):
    """`processor`: the processes that run scripts."""

    process_time_limit_s: float = Field(
        30.0, gt=0, le=86400, description="most seconds for one callback, unless the task says otherwise"
    )
    memory_bytes: int = Field(
        1024**3,
        ge=64 * 1024 * 1024,
        description="address space one processor may use on top of what it starts with; 0 is not allowed",
    )
    recycle_mib: int = Field(
        512,
        ge=0,
        le=1024**2,
        description="a processor with more resident memory than this after a page is replaced; 0: never",
    )
    recycle_tasks: int = Field(
        0, ge=0, le=1_000_000_000, description="a processor is replaced after so many pages; 0: never"
    )


class MasterSettings(Section):
    """`master` in conf/master.yaml."""

    bind: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; 0.0.0.0 or :: for slaves on other machines",
    )
    port: int = Field(
        CONTROL_PORT,
        ge=0,
        le=65532,
        description="control port; the next three are used too; 0 picks free ones",
    )
    security: Literal["curve", "none"] = Field("curve", description="none is allowed on loopback only")
    i_know_this_is_open: bool = Field(
        False,
        description="allow security: none beyond loopback; then anyone who reaches the port controls the crawl",
    )
    local_slave: bool = Field(True, description="start a slave on the master's machine, too")
    heartbeat_s: float = Field(2.0, gt=0, le=60, description="how often master and slaves send heartbeats")
    suspect_s: float = Field(6.0, gt=0, le=600, description="a slave silent for longer gets no new tasks")
    lease_s: float = Field(30.0, gt=0, le=3600, description="a lease not renewed for longer goes back to the frontier")
    quiet_s: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="a slave that has not heard from its master for longer starts no new task; below lease_s",
    )
    rebuild_s: float = Field(
        10.0,
        gt=0,
        le=600,
        description="a slave that has not heard from its master for longer reopens its sockets",
    )
    adopt_s: float = Field(
        15.0,
        ge=0,
        le=600,
        description="how long a restarted master waits for its slaves to come back before it grants",
    )
    slaves_max: int = Field(2000, ge=1, le=20_000, description="most slaves; others are told that the master is busy")


class SlaveSettings(Section):
    """`slave` in conf/slave.yaml, and for the master's local slave in conf/master.yaml."""

    master: str = Field("127.0.0.1", min_length=1, description="HOST, HOST:PORT or [IPv6]:PORT")
    roles: tuple[Literal["fetcher", "processor"], ...] = Field(
        ("fetcher", "processor"),
        min_length=1,
        description="what this slave does; a slave with one role works through the master's page relay",
    )
    fetch_concurrency: int = Field(100, ge=1, le=5000, description="most requests in flight")
    processors: int = Field(0, ge=0, le=256, description="processes that run scripts; 0: one per core")
    window: int = Field(0, ge=0, le=10_000, description="most leases held; 0: three times fetch_concurrency")
    outbox_items: int = Field(
        10_000,
        ge=100,
        le=20_000,
        description="outcomes kept until acknowledged; when full, no more work is taken",
    )
    outbox_bytes: int = Field(256 * 1024 * 1024, ge=1024 * 1024, description="the same in bytes")
    drain_s: float = Field(30.0, ge=0, le=600, description="on SIGTERM: how long to finish what runs")


class StorageSettings(Section):
    """`storage`: how the master writes."""

    commit_rows: int = Field(
        2000, ge=1, le=10_000, description="most rows (tasks, results, messages) that one transaction writes, about"
    )
    commit_ms: int = Field(20, ge=0, le=1000, description="how long a transaction waits for more outcomes")


class FrontierSettings(Section):
    """`frontier`: what the master keeps in memory of the waiting tasks."""

    window: int = Field(
        10_000,
        ge=100,
        le=1_000_000,
        description="waiting tasks in memory per project; the rest stays in the database",
    )
    known: int = Field(
        200_000,
        ge=0,
        le=100_000_000,
        description="recently seen URLs remembered, so that repeated links cost no query",
    )


class RetentionSettings(Section):
    """`retention`: what the master deletes by itself. Days count from when a task ended or a result was stored."""

    finished_tasks_days: float = Field(
        0.0,
        ge=0,
        le=36500,
        description="delete the record of finished tasks (headers, log, self.save) after so long; 0: never",
    )
    forget_tasks_days: float = Field(
        0.0,
        ge=0,
        le=36500,
        description="delete finished tasks after so long; their URLs are new when they are found again; 0: never",
    )
    results_days: float = Field(0.0, ge=0, le=36500, description="delete results after so long; 0: never")
    scripts_days: float = Field(
        90.0,
        ge=0,
        le=36500,
        description="delete versions of scripts that no project uses and that were pushed so long ago; 0: never",
    )

    @property
    def is_wanted(self) -> bool:
        """Whether tasks or results are to be deleted."""
        return any((self.finished_tasks_days, self.forget_tasks_days, self.results_days))


class SchedulerSettings(Section):
    """`scheduler`: what the master does with projects by itself."""

    fail_pause_num: int = Field(
        10,
        ge=0,
        le=1_000_000,
        description="a project is paused after so many failed pages in a row; 0: never",
    )
    pause_s: float = Field(
        300.0, gt=0, le=7 * 86400, description="how long the pause lasts; then a few pages are tried"
    )
    unpause_check_num: int = Field(
        3,
        ge=1,
        le=1_000_000,
        description="how many pages are tried; one success ends the pause, else it begins again",
    )
    delete_s: float = Field(
        86400.0,
        ge=0,
        le=10 * 365 * 86400,
        description="a stopped project with `delete` in its group is deleted when it has not been changed for so long",
    )
    script_retry_s: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="a slave that could not load a script tries again after so long, then each time twice as long, "
        "up to an hour",
    )
    check_s: float = Field(
        0.0,
        ge=0,
        le=86400,
        description="for debugging: how often the master checks its memory; a contradiction ends it; 0: never",
    )


class HostRule(Section):
    """One of `politeness.rules`."""

    match: str = Field(
        min_length=1,
        max_length=300,
        description="hosts it is for: a name with * and ?; with its port, if that is not the scheme's",
    )
    concurrency: int = Field(0, ge=0, le=1_000_000, description="most requests at once; 0: no limit")
    delay_s: float = Field(0.0, ge=0, le=86400, description="least seconds from one request's start to the next")


class PolitenessSettings(Section):
    """`politeness`: how hosts are treated, all slaves and projects together; below each project's rate."""

    concurrency: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="most requests at once to a host without a rule; 0: no limit, as in pyspider",
    )
    delay_s: float = Field(
        0.0,
        ge=0,
        le=86400,
        description="least seconds between the starts of two requests to a host without a rule",
    )
    rules: tuple[HostRule, ...] = Field(
        (),
        max_length=1000,
        description='first match wins: - {match: "*.example.com", concurrency: 2, delay_s: 0.5}',
    )
    back_off: bool = Field(True, description="leave a host alone for a while when it answers 429 or 503")
    back_off_max_s: float = Field(
        60.0,
        gt=0,
        le=86400,
        description="longest such pause if the host gives no time: 1 s, doubled each time",
    )
    retry_after_max_s: float = Field(
        3600.0,
        gt=0,
        le=86400,
        description="longest pause that a host's Retry-After, or robots.txt's Crawl-delay, may ask for",
    )
    silent_share: float = Field(
        0.125,
        gt=0,
        le=1,
        description="share of all slaves' requests that a host may take while it does not answer; 1: all",
    )
    adaptive: bool = Field(False, description="space requests by how long the host takes to answer")
    adaptive_max_s: float = Field(60.0, gt=0, le=86400, description="longest such spacing")
    adaptive_concurrency: float = Field(
        1.0, gt=0, le=1000, description="average number of requests at once to a host when adaptive"
    )


class MasterFile(Section):
    """All of conf/master.yaml."""

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="keys, tokens, SQLite database; /var/lib/zspider for systemd, root and users who may write there, "
        "else ~/.local/share/zspider",
    )
    database: str = Field(
        "",
        description="sqlite:///PATH or mysql+pymysql://USER:PASSWORD@HOST/NAME; empty: sqlite:///<data_dir>/zspider.db",
    )
    master: MasterSettings = MasterSettings()
    slave: SlaveSettings = SlaveSettings()
    fetch: FetchSettings = FetchSettings()
    processor: ProcessorSettings = ProcessorSettings()
    storage: StorageSettings = StorageSettings()
    frontier: FrontierSettings = FrontierSettings()
    retention: RetentionSettings = RetentionSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    politeness: PolitenessSettings = PolitenessSettings()
    limits: MasterLimitSettings = MasterLimitSettings()
    log: LogSettings = LogSettings()

    @property
    def database_url(self) -> str:
        """The database in use, with the default filled in."""
        return self.database or f"sqlite:///{self.data_dir / DATABASE}"

    @property
    def database_shown(self) -> str:
        """The same without its password and its options, where one may be, too; for logs and `status`."""
        shown = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", self.database_url)  # @, / and ? may be in a password
        return shown.partition("?")[0]


class SlaveFile(Section):
    """All of conf/slave.yaml."""

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="where a master on this machine keeps its tokens",
    )
    token_file: Path | None = Field(
        None,
        description="file with the join token; else $CREDENTIALS_DIRECTORY/join-token, ZSPIDER_TOKEN, "
        "/etc/zspider/join.token, <data_dir>/join.token",
    )
    slave: SlaveSettings = SlaveSettings()
    fetch: FetchSettings = FetchSettings()
    processor: ProcessorSettings = ProcessorSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
