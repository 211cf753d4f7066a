"""Every message of the wire: its sender and receiver, and the ranges of its fields.

A message is packed into one or more ZeroMQ frames by `codec.encode` and read by `codec.decode`; past
`decode` nothing is checked again. Control messages travel DEALER <-> ROUTER, `Outcomes` PUSH -> PULL,
`Page` through the master's page relay, and the last group between a slave and its own processors.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from zspider.delivery import Grant, Proof
from zspider.task import Millis, ProjectId, ScriptHash, TaskId

PROTOCOL = 2  # grows with every change that an older peer cannot read

Session = Annotated[bytes, Meta(min_length=16, max_length=16)]  # 128 secret random bits, new at every start
ClusterId = Annotated[bytes, Meta(min_length=16, max_length=16)]
Epoch = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[int, Meta(ge=0, le=2**53)]
Numbers = Annotated[list[Number], Meta(max_length=20_000)]
# While a project's stays the same, none of its tasks is deleted, and the master is the same; b"": nothing is promised.
Generation = Annotated[bytes, Meta(max_length=64)]
Short = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=4096)]
COMPLAINT_CHARS = 200
Complaint = Annotated[str, Meta(max_length=COMPLAINT_CHARS)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Message(Struct, frozen=True, array_like=True):
    """The root of all messages."""


# --- slave -> master, control -------------------------------------------------------------------


class Held(Struct, frozen=True, array_like=True):
    """A lease that a slave holds, in full: a master that restarted can adopt it."""

    number: Number
    project: ProjectId
    taskid: TaskId
    run: Number
    attempt: Number
    proof: Proof
    in_outbox: bool  # its outcome is made and waits for the acknowledgement
    host: Short = ""  # whose page it is, until it is processed


class Hello(Message, frozen=True, tag="hello"):
    """Slave -> master: the first word of a session and after each reconnect; answered by Welcome.

    `held` that does not fit comes in further pages; `pages_left` says how many follow.
    """

    protocol: Number
    session: Session
    roles: Annotated[list[Short], Meta(min_length=1, max_length=8)]  # "fetcher", "processor"
    window: Annotated[int, Meta(ge=0, le=20_000)]  # most leases this slave wants to hold now
    host: Short
    pid: Number
    version: Short
    cluster: ClusterId | None  # of the last Welcome; None at first
    epoch: Epoch
    seen: Number  # highest grant number received from the master since the start
    held: Annotated[list[Held], Meta(max_length=1000)] = []
    pages_left: Number = 0


class Beat(Message, frozen=True, tag="beat"):
    """Slave -> master, every heartbeat_s, from the loop that does the work: what I have.

    A grant whose number is <= `seen` and stands in neither list is lost and is given again.
    """

    session: Session
    epoch: Epoch
    seen: Number
    held: Numbers  # grant numbers not finished
    outbox: Numbers  # grant numbers whose outcome waits for the acknowledgement
    window: Annotated[int, Meta(ge=0, le=20_000)]
    fetching: Number = 0  # for `status`: requests in flight
    fetched: Number = 0  # for `status`: pages fetched since the start
    processed: Number = 0  # for `status`: outcomes made since the start
    complaint: Complaint = ""  # what keeps this slave from its work, as the end of a sentence; for `status` and `why`
    delivers: bool = True  # False: outcomes or pages do not get through, so these leases are not to be renewed


class GiveBack(Message, frozen=True, tag="giveback"):
    """Slave -> master: these leases were not started; take them back. Not counted as an attempt."""

    session: Session
    numbers: Numbers
    reason: Short = ""  # "script": it cannot be loaded on this machine, and `error` says why
    error: Text = ""


class NeedScript(Message, frozen=True, tag="needscript"):
    """Slave -> master: send me this script; answered by Script."""

    session: Session
    script: ScriptHash


class NeedProject(Message, frozen=True, tag="needproject"):
    """Slave -> master: a script imports this project; answered by ProjectScript."""

    session: Session
    name: Short


class Took(Message, frozen=True, tag="took"):
    """Processing slave -> master: I have this relayed page and process it."""

    session: Session
    project: ProjectId
    taskid: TaskId
    run: Number
    attempt: Number
    proof: Proof


class Leave(Message, frozen=True, tag="leave"):
    """Slave -> master: I am gone, everything is given back or acknowledged. Answered by Unknown."""

    session: Session


# --- master -> slave, control -------------------------------------------------------------------


class Welcome(Message, frozen=True, tag="welcome"):
    """Master -> slave: you are in. Ports are on the host that the slave dialled."""

    protocol: Number
    cluster: ClusterId
    epoch: Epoch
    outcomes_port: Port
    pages_in_port: Port
    pages_out_port: Port
    heartbeat_s: float
    quiet_s: float
    rebuild_s: float


class Unknown(Message, frozen=True, tag="unknown"):
    """Master -> slave: I know no such session (I restarted, or you have left): say Hello, if you stay."""

    epoch: Epoch


class NewSession(Message, frozen=True, tag="newsession"):
    """Master -> slave: a live slave has the same session (a cloned VM): draw a new one, if you still use it.

    The slave drops its leases and keeps its outbox.
    """

    session: Annotated[bytes, Meta(max_length=16)] = b""  # empty, from an older master: the one you use


class Refused(Message, frozen=True, tag="refused"):
    """Master -> peer: I will not work with you; the text says why and what to do. The peer tries again slowly."""

    reason: Short  # "protocol", "token", "busy"
    text: Text


class MasterBeat(Message, frozen=True, tag="masterbeat"):
    """Master -> slave, every heartbeat_s: the master's heartbeat. (The slave's is `Beat`.)

    It also says which of the slave's outcomes have arrived, before any commit.
    """

    epoch: Epoch
    arrived: Number | None = None  # the highest `serial` of the slave's Outcomes; older masters do not say
    reads: bool = True  # False: the database is behind and no outcomes are taken in just now


class ProjectInfo(Message, frozen=True, tag="project"):
    """Master -> slave, before the first grant for which this is true."""

    project: ProjectId
    name: Short
    group: Short
    status: Short  # TODO STOP CHECKING DEBUG RUNNING
    rate: float
    burst: float
    updated_ms: Millis
    script: ScriptHash
    crawl_config: bytes  # msgpack map, late-bound defaults (docs/pyspider-behaviour.md 2.5)
    generation: Generation = b""


class Grants(Message, frozen=True, tag="grants"):
    """Master -> slave: these tasks are yours until their leases run out."""

    epoch: Epoch
    grants: Annotated[list[Grant], Meta(max_length=1000)]


class Script(Message, frozen=True, tag="script"):
    """Master -> slave (and slave -> processor): a script's text, immutable under its hash."""

    script: ScriptHash
    text: str


class ProjectScript(Message, frozen=True, tag="projectscript"):
    """Master -> slave (and slave -> processor): a project's current script; None: there is no such project."""

    name: Short
    script: ScriptHash | None
    status: Short = ""
    text: str = ""


class Ack(Message, frozen=True, tag="ack"):
    """Master -> slave: these outbox items (their `id`) are committed, or need not be; forget them.

    `known` are those of `ids` with follows each of which has a row now, or was to be cancelled. `again` are other items
    that were not taken in, as too much of the slave's waited: they are to be sent again.
    """

    epoch: Epoch
    ids: Numbers
    known: Numbers = []
    again: Numbers = []


class Release(Message, frozen=True, tag="release"):
    """Master -> slave: forget these leases and what belongs to them; another slave's outcome ended their run."""

    numbers: Numbers


class Recall(Message, frozen=True, tag="recall"):
    """Master -> slave: give back those of these leases that are not started."""

    numbers: Numbers


class Taken(Message, frozen=True, tag="taken"):
    """Master -> fetching slave: a processing slave has these pages; do not send them again by yourself."""

    numbers: Numbers


class Resend(Message, frozen=True, tag="resend"):
    """Master -> fetching slave: the processing slave that had these pages is gone; relay them again."""

    numbers: Numbers


# --- slave -> master, outcomes ------------------------------------------------------------------


class OutcomeItem(Struct, frozen=True, array_like=True):
    """One outcome in the outbox: `id` is counted up per session; `outcome` is a packed delivery.Outcome."""

    id: Number
    number: Number  # the grant it answers; 0 when the page came through the relay
    outcome: bytes


class Outcomes(Message, frozen=True, tag="outcomes"):
    """Slave -> master, PUSH/PULL: a batch from the outbox, sent again until each id is acknowledged."""

    session: Session
    epoch: Epoch
    items: Annotated[list[OutcomeItem], Meta(max_length=1000)]
    serial: Number = 0  # counted up with every such message of a slave; answered by MasterBeat.arrived


# --- admin client <-> master, control -----------------------------------------------------------


class AdminRequest(Message, frozen=True, tag="admin"):
    """Admin client -> master: one verb. `args` is a msgpack map; answered by AdminReply with the same `id`."""

    id: Number
    protocol: Number
    verb: Short
    args: bytes


class AdminReply(Message, frozen=True, tag="adminreply"):
    """Master -> admin client. `value` is msgpack; `error` is one line and `exit_code` its exit code."""

    id: Number
    value: bytes = b"\xc0"
    error: Text = ""
    exit_code: Annotated[int, Meta(ge=0, le=255)] = 0


# --- inside a slave: link <-> processor, and pages through the relay -----------------------------


class Page(Message, frozen=True, tag="page"):
    """Fetcher -> processor: a fetched page and the task it belongs to. Also the relay's message."""

    number: Number  # grant number in the fetching session
    project: ProjectId
    project_name: Short
    project_status: Short
    script: ScriptHash
    taskid: TaskId
    run: Number
    attempt: Number
    proof: Proof
    task: dict[str, Any]  # what the callback sees as `task` (docs/pyspider-behaviour.md 3.3), crawl_config merged in
    fetch: dict[str, Any]  # the fetch result of docs/pyspider-behaviour.md 3.4, without `content`
    content: bytes
    group: Short = ""  # of the project, as the next three: its script may look at them
    rate: float = 0.0
    burst: float = 0.0
    updated_ms: Millis = 0
    generation: Generation = b""  # of the project when the task was granted


class Up(Message, frozen=True, tag="up"):
    """Processor -> slave, once: I am there. Which page it runs is told by memory that both share."""


class Processed(Message, frozen=True, tag="processed"):
    """Processor -> slave: a packed delivery.Outcome of this page; `final` is false for a PART."""

    number: Number
    final: bool
    outcome: bytes


class Known(Message, frozen=True, tag="known"):
    """Slave -> processor: the follows of these pages of yours have rows now, unless they cancel."""

    numbers: Numbers


class WantProject(Message, frozen=True, tag="wantproject"):
    """Processor -> slave: the script that I run imports this project; answered by ProjectScript."""

    name: Short


class LoadFailed(Message, frozen=True, tag="loadfailed"):
    """Processor -> slave: this script cannot be imported on this machine (a module is missing)."""

    number: Number
    script: ScriptHash
    error: Text


class Retired(Message, frozen=True, tag="retired"):
    """Processor -> slave: I am used up and end; the pages that I was sent and did not answer are for another one."""

    reason: Short


class Stop(Message, frozen=True, tag="stop"):
    """Slave -> processor: finish what you run, then end."""


ToMaster = Hello | Beat | GiveBack | NeedScript | NeedProject | Took | Leave | AdminRequest  # on the control socket

AnyMessage = (
    Hello | Beat | GiveBack | NeedScript | NeedProject | Took | Leave
    | Welcome | Unknown | NewSession | Refused | MasterBeat | ProjectInfo | Grants | Script | ProjectScript
    | Ack | Release | Recall
    | Taken | Resend
    | Outcomes
    | AdminRequest | AdminReply
    | Page | Up | Processed | Known | WantProject | LoadFailed | Retired | Stop
)  # fmt: skip
