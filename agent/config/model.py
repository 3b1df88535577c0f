"""Everything that can be configured, with its default and why that is the default.

Frozen values; sections are independent of each other, what must fit together is in `checks`.
The reference page and the file that `init` writes are made from this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from agent.config import fields as f
from agent.config.presets import FINALITY_AUTO
from agent.config.units import OfCost, Rate, show_percent
from agent.secret import SecretUrl


@dataclass(frozen=True, slots=True)
class Chain:
    """Which market, and through which nodes it is read."""

    chain_id: int = f.integer(
        0, 1, 2**53, "Every node must report it, or the agent does not start.", required=True
    )
    market: str = f.text(
        "registry",
        "registry: isolated instances with stake and slashing. marketv1: Marlin's live market, "
        "where users open jobs at a provider that they name.",
        choices=("registry", "marketv1"),
    )
    registry: str = f.address(
        "The market's contract. Marlin's own deployments of marketv1 on Arbitrum One and BNB Chain "
        "are known and need not be named."
    )
    provider: str = f.address(
        "Whose jobs are served, where that is not the wallet's own account; for marketv1, where "
        "anybody may settle: the wallet may be another key, which pays gas, or none."
    )
    rpc_urls: tuple[SecretUrl, ...] = f.urls(
        "JSON-RPC nodes, best first. Two of different operators: the second confirms what cannot "
        "be undone. Put URLs that hold a key in rpc_urls_file.",
        example='["https://node.example", "https://other.example"]',
    )
    rpc_urls_file: str = f.file(
        "",
        "A secret file with one URL a line (or a # comment), added after rpc_urls.",
        example='"credential:rpc-urls"',
    )
    ws_url: SecretUrl | None = f.url(
        "newHeads over WebSocket wakes the agent sooner; polling goes on without it.",
        example='"wss://node.example/ws"',
    )
    finality: str = f.finality(
        FINALITY_AUTO,
        "From when on a block counts as final: the node's tag (finalized, safe), or so many blocks "
        "deep; auto: the known depth of Marlin's deployments, elsewhere finalized. Nothing is "
        "terminated for a reason that is not final.",
    )
    poll_seconds: float = f.duration(
        "1s", "50ms", "60s", "How often the head is asked for; an assignment waits half of it."
    )
    timeout_seconds: float = f.duration(
        "10s", "100ms", "2m", "A node that takes longer to answer has failed; the next is asked."
    )
    max_lag_seconds: float = f.duration(
        "60s",
        "1s",
        "1h",
        "A node whose newest block is so much older than another's is passed over; in time, since "
        "blocks come every 0.25 s on one chain and every 12 s on another.",
    )
    log_range_blocks: int = f.integer(
        2_000, 1, 1_000_000, "Blocks asked for at once; halved when a node says that is too many."
    )


@dataclass(frozen=True, slots=True)
class Gas:
    """What transactions may cost."""

    max_fee_wei: int = f.coin("100gwei", "No transaction bids more a gas; above it, it waits.")
    per_job_wei: int = f.coin(
        "0.05eth",
        "A job whose transactions have cost this sends no more until someone looks. Half of it is"
        " for its report and its exit alone.",
    )
    per_day_wei: int = f.coin(
        "0.5eth",
        "All transactions of 24 hours; stops a loop that bleeds. Half of it is for reports and"
        " exits alone: settlements can't spend it.",
    )
    replace_seconds: float = f.duration(
        "45s", "5s", "30m", "A transaction unmined this long is sent again at a higher fee."
    )


@dataclass(frozen=True, slots=True)
class Wallet:
    """The key that signs: one of keystore_file, key_file and kms_key_id. On marketv1 none at all,
    where chain.provider says whose jobs are served: then nothing is settled from here."""

    keystore_file: str = f.file(
        "", "An encrypted JSON keystore (geth's format).", example='"credential:keystore"'
    )
    password_file: str = f.file(
        "", "The keystore's password.", example='"credential:keystore-password"'
    )
    key_file: str = f.file("", "A raw private key in hex, mode 0600; for tests and devnets.")
    kms_key_id: str = f.text(
        "",
        "An AWS KMS key (ECC_SECG_P256K1): the key never is on this host.",
        example='"alias/oyster"',
    )
    kms_region: str = f.text("", "The KMS key's region; the first of aws.regions when empty.")

    @property
    def given(self) -> tuple[str, ...]:
        """The settings that name a key."""
        named = ("keystore_file", "key_file", "kms_key_id")
        return tuple(name for name in named if getattr(self, name))


@dataclass(frozen=True, slots=True)
class Aws:
    """Where instances run. Credentials come from the SDK's own chain, never from here."""

    regions: tuple[str, ...] = f.texts(
        (), "Regions that are served and swept.", example='["us-east-1"]', required=True
    )
    ami: str = f.text(
        "al2023",
        "Image of the hosts: al2023 (Amazon's latest, by its public parameter), an ami- id (one "
        "region), or a name filter such as oyster-host-* (what `cloud bake` makes).",
    )
    bucket_prefix: str = f.text(
        "oyster", "The bucket of a region is PREFIX-ACCOUNT-REGION; `cloud setup` makes it."
    )
    subnets: tuple[str, ...] = f.texts(
        (), "Subnet ids to launch in; empty: every default subnet of the region."
    )
    elastic_ip: bool = f.flag(
        False, "An Elastic IP a job keeps the address over a replacement; few accounts have many."
    )
    root_volume_bytes: int = f.size(
        "16GiB", "8GiB", "1TiB", "Disk of a host: system, image and allocator's files."
    )
    endpoint_url: str = f.text("", "Another AWS endpoint, for devnets and tests.")


@dataclass(frozen=True, slots=True)
class Offer:
    """One instance type on offer; write [[offers]] for each."""

    type: str = f.required_text(
        "REGION/TYPE as the market knows it.", example='"us-east-1/c6a.xlarge"'
    )
    price: Rate | OfCost = f.price(
        "Payment tokens a period; the contract keeps it a second, rounded up. Or a rule of the "
        'type\'s cost, "cost * 1.15": the agent follows it, see `offers rules`.'
    )
    cost: Rate | None = f.cost(
        "What AWS asks you for the type, for margins, reports and prices by rule; its list price "
        "when absent."
    )
    floor: Rate | OfCost | None = f.rule(
        "With a rule: nothing below it is asked, whatever others ask; the cost when absent."
    )
    undercut: Fraction = f.percent(
        "0%",
        "So far below the cheapest other provider who could take a job, never below floor and never"
        " above price; 0%: others are not looked at.",
        example='"1%"',
    )

    @property
    def by_rule(self) -> bool:
        """Whether the agent makes the price by itself."""
        return isinstance(self.price, OfCost) or bool(self.undercut)

    @property
    def rule_text(self) -> str:
        """The price in the file's words, with what makes it move."""
        floor = f", floor {self.floor}" if self.floor is not None else ""
        undercut = f", undercut {show_percent(self.undercut)}" if self.undercut else ""
        return f"{self.price}{floor}{undercut}"

    @property
    def region(self) -> str:
        """The AWS region in the type."""
        return self.type.partition("/")[0]

    @property
    def instance_type(self) -> str:
        """The EC2 type in the type."""
        return self.type.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Listing:
    """Whether offers follow what can be delivered."""

    follow_capacity: bool = f.flag(
        True, "Withdraw a type's listing when no further job of it fits; restore it after a probe."
    )
    settle_seconds: float = f.duration(
        "10m", "30s", "1d", "Room must be gone, or back, this long before the listing changes."
    )
    per_day_wei: int = f.coin("0.05eth", "Gas of listing changes in 24 hours.")
    price_move: Fraction = f.percent(
        "10%",
        "The most that a rule moves a price within 24 hours; up to its floor it moves at once.",
    )
    price_least: Fraction = f.percent(
        "1%", "A rule changes nothing for less than this, but to be the cheapest again."
    )
    price_raise_after_seconds: float = f.duration(
        "6h",
        "0s",
        "7d",
        "A rule raises a price when the reason has lasted so long; it lowers at once.",
    )
    price_gas_wei: int = f.coin("0.01eth", "Of per_day, what rules may spend on price changes.")


@dataclass(frozen=True, slots=True)
class Cards:
    """On marketv1: rate cards in bulk, as providers of that market keep them."""

    rates_file: str = f.file(
        "",
        "rates.json of an operator: cards of many regions and types, beside [[offers]], which win. "
        "Those of aws.regions are served. Read again at a reload.",
    )
    bandwidth_file: str = f.file(
        "",
        "bandwidth.json of an operator: what a GB costs in each region, for /bandwidth; a region "
        "that is not in it costs nothing more.",
    )


@dataclass(frozen=True, slots=True)
class Images:
    """Where enclave images come from and what is accepted."""

    gateways: tuple[str, ...] = f.texts(
        ("https://trustless-gateway.link", "https://ipfs.io", "https://dweb.link"),
        "Trustless IPFS gateways, tried together; every byte is verified, so any will do.",
        example='["http://127.0.0.1:8080", "https://ipfs.io"]',
    )
    kubo_api: str = f.text(
        "",
        "Your own IPFS node's RPC, asked beside the gateways: a URL, HOST:PORT or a multiaddr.",
        example='"http://127.0.0.1:5001"',
    )
    max_size_bytes: int = f.size(
        "2GiB", "1MiB", "64GiB", "Larger images are refused; memory of the enclave is 4 x this."
    )
    store_dir: str = f.folder("", "Folder of verified images; STATE_DIR/images when empty.")
    quota_bytes: int = f.size(
        "40GiB", "16MiB", "16TiB", "The store's size; images without a job go, oldest use first."
    )
    stall_seconds: float = f.duration(
        "10s",
        "100ms",
        "5m",
        "A source whose bytes stop for this long is left for another; its first may take longer.",
    )
    allowed_hosts: tuple[str, ...] = f.texts(
        (),
        "Hosts from which plain https:// with a digest in the fragment is accepted; on marketv1 any"
        " public host is, and without a digest too.",
    )


@dataclass(frozen=True, slots=True)
class Jobs:
    """Which jobs are served. A deny list wins over an allow list; an empty one allows all."""

    allow_owners: tuple[str, ...] = f.addresses("Users that are served.")
    deny_owners: tuple[str, ...] = f.addresses("Users that are not served.")
    allow_images: tuple[str, ...] = f.texts(
        (), "CIDs (however written), SHA-256 digests or PCR0s of images that are served."
    )
    deny_images: tuple[str, ...] = f.texts(
        (), "CIDs (however written), SHA-256 digests or PCR0s of images that are not."
    )
    min_escrow_seconds: float = f.duration(
        "10m", "0s", "30d", "Paid time that must be in the escrow, else the launch is not worth it."
    )
    per_owner: int = f.integer(
        0, 0, 100_000, "Jobs that one user may have here at once; 0: as many as are matched. A "
        "refusal costs the stake where an exit takes longer than bootstrapping."
    )  # fmt: skip
    wasted_per_owner: int = f.integer(
        0, 0, 100_000, "Launches that may come to nothing for one user in a day (requests that "
        "never attest, jobs stopped while they come up); 0: no limit, as for per_owner."
    )  # fmt: skip
    pass_by: tuple[str, ...] = f.texts(
        (),
        "Numbers of jobs that are not served, whatever they pay: those that a control plane "
        "before this agent had ended (`takeover` writes them).",
        example='["17", "40"]',
    )
    debug: bool = f.flag(
        True,
        "On marketv1: serve jobs whose users ask for debug mode. Such an enclave proves its "
        "instance and no image, and its console is open to everybody on TCP 516.",
    )
    on_refusal: str = f.text(
        "exit",
        "A job that is not served: exit (RequestToExitJob, the stake comes back after the "
        "cool-down unless auditors slash first) or leave (nothing is sent; the stake is lost).",
        choices=("exit", "leave"),
    )
    dry_grace_seconds: float = f.duration(
        "1m", "0s", "1h", "How long a job is served past its dry second, waiting for funds."
    )
    stop_before_dry_seconds: float = f.duration(
        "0s",
        "0s",
        "1h",
        "On marketv1: a job is taken down so long before its balance runs dry; later deposits "
        "revive it.",
    )
    settle_every_seconds: float = f.duration(
        "1d",
        "0s",
        "90d",
        "What a running job has earned is collected this often; 0s: only at its end. Each time"
        " costs gas; what is not collected yet stays in the contract, safe but not at hand.",
    )
    settle_least: float = f.number(
        1.0,
        0.0,
        1e9,
        "Payment tokens that a job must have earned to be collected before its end: less is not"
        " worth the gas.",
    )
    resync_seconds: float = f.duration(
        "5m", "1s", "1h", "Everything is looked at anew this often, events or not."
    )
    orphan_grace_seconds: float = f.duration(
        "10m",
        "1s",
        "1d",
        "What the mailbox holds of a host that EC2 no longer lists is deleted at this age.",
    )


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long the stages of bootstrapping usually take; what is seen corrects these."""

    launch_seconds: float = f.duration(
        "20s", "100ms", "15m", "RunInstances to running (published: 17.8 s for AL2023)."
    )
    boot_seconds: float = f.duration(
        "15s", "100ms", "15m", "Running to the host program's first report."
    )
    image_seconds: float = f.duration(
        "30s", "100ms", "1h", "Image from IPFS to the region's bucket; runs beside the launch."
    )
    enclave_seconds: float = f.duration(
        "15s", "100ms", "15m", "From the host's orders to an enclave that runs."
    )
    attest_seconds: float = f.duration("3s", "100ms", "5m", "Document fetched and verified.")
    report_seconds: float = f.duration("15s", "100ms", "10m", "reportStarted sent to mined.")
    patience: float = f.number(
        3.0, 1.0, 100.0, "After so many usual lengths a stage is late, and another way is tried."
    )


@dataclass(frozen=True, slots=True)
class Keepalive:
    """When a running job counts as ill, and what is done about it."""

    probe_seconds: float = f.duration(
        "5m", "100ms", "1h", "How often the attestation endpoint is asked, as an auditor would."
    )
    retry_seconds: float = f.duration(
        "20s", "100ms", "10m", "After a missed answer it is asked again this soon."
    )
    misses: int = f.integer(
        4, 1, 100, "Missed answers in a row before the enclave is restarted; one is nothing."
    )
    heartbeat_seconds: float = f.duration(
        "3m", "1s", "1h", "A host that has not reported for this long is silent."
    )
    start_seconds: float = f.duration(
        "10m", "1s", "1h", "A replacement has this long to come up before the next."
    )
    restart_seconds: float = f.duration(
        "3m", "1s", "1h", "A restarted enclave has this long to answer before its host is replaced."
    )
    stable_seconds: float = f.duration(
        "1h", "1s", "7d", "An enclave that ran this long earns its host another restart."
    )
    replace_backoff_seconds: float = f.duration(
        "10m", "1s", "1d", "Least time between replacements of one job; doubles each time."
    )
    max_backoff_seconds: float = f.duration("6h", "1s", "7d", "The most it doubles to.")
    doubt_share: float = f.share(
        0.5, "When more than this part of all jobs looks ill at once, the observer is doubted."
    )
    doubt_jobs: int = f.integer(3, 1, 100_000, "Fewer ill jobs than this never raise the doubt.")
    doubt_seconds: float = f.duration(
        "5m", "1s", "1h", "How long the observer is doubted before it is believed."
    )


@dataclass(frozen=True, slots=True)
class Breaker:
    """Against mass termination after a wrong answer from a node."""

    share: float = f.share(
        0.3, "Ends of more than this part of all jobs within the window are held for confirmation."
    )
    window_seconds: float = f.duration("10m", "1s", "1d", "The time over which ends are counted.")
    min_jobs: int = f.integer(3, 1, 100_000, "Fewer ends than this are never held.")
    unconfirmed: int = f.integer(
        8, 1, 10_000, "Instances that are bought on one RPC node's word at the same time; beyond, "
        "a second node has to tell the same of the job first. It answers within seconds, so a "
        "crowd of real jobs hardly waits; so many instances is what invented ones cost."
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Enclave:
    """What an enclave gets on its host."""

    ports: tuple[str, ...] = f.texts(
        ("1300:1300",),
        "TCP ports open to the world, LISTEN:VSOCK. 1300 is where auditors ask for attestation.",
    )
    egress: tuple[str, ...] = f.texts(
        (),
        "What enclaves can reach, VSOCK=HOST:PORT; nothing else.",
        example='["8443=api.example:443"]',
    )
    network: str = f.text(
        "forwards",
        "`packets`: raw IPv4, as Marlin's standard images expect, instead of `ports` and `egress`.",
        choices=("forwards", "packets"),
    )
    egress_kbit: int = f.integer(
        0, 0, 100_000_000, "With packets: kbit a second that one enclave may send; 0: any."
    )
    mail: bool = f.flag(False, "With packets: let enclaves reach port 25, which spam goes by.")
    attestation_port: int = f.integer(1300, 1, 65535, "The port that serves the attestation.")
    attestation_path: str = f.text("/attestation/raw", "The path that serves the document's bytes.")
    attestation_age_seconds: float = f.duration(
        "5m", "1s", "3h", "An older document is no proof of life."
    )
    known_images: tuple[str, ...] = f.texts(
        (),
        "Images, NAME=PCR0:PCR1:PCR2 in hex, that extend PCR16 with the digest of their init "
        "params and lock it: of these PCR16 is asked for too, and `jobs show` says that the params "
        "are proven. Beside Marlin's blue v3.0.0, which is known. See docs/security.md first: an "
        "image that does not do so is not served any more.",
    )
    debug: bool = f.flag(
        False, "Console of the enclave readable, PCRs zero: proves nothing. Devnets only."
    )
    root_file: str = f.file(
        "", "Another attestation root than AWS's, PEM; a devnet has its own. Never in earnest."
    )


@dataclass(frozen=True, slots=True)
class Status:
    """The HTTP server: health, metrics, jobs and a page. It changes nothing."""

    listen: str = f.listen("127.0.0.1:8470", "The operator's address; empty: no server at all.")
    public_listen: str = f.listen(
        "", "A second address for the market's tools alone: /ip, /spec, /bandwidth, /healthz."
    )
    expose: bool = f.flag(
        False, "Allow `listen` beyond loopback: everyone who reaches it sees jobs and earnings."
    )
    stall_seconds: float = f.duration(
        "60s", "1s", "1h", "Without progress of the loop this long, /healthz answers 503."
    )
    explorer: str = f.text(
        "",
        "A block explorer's address, for the page's links: /tx/ and /address/ follow it. Empty: "
        "the one that is known for the chain id, or no links.",
        example='"https://arbiscan.io"',
    )


@dataclass(frozen=True, slots=True)
class Notify:
    """Word of trouble without Prometheus: mail, chat, webhooks. Needs the extra `notify`."""

    urls_file: str = f.file(
        "",
        "A secret file with one apprise URL a line (mailto://, tgram://, slack://, json://; see "
        "github.com/caronc/apprise). Empty: nobody is told.",
        example='"credential:notify-urls"',
    )
    least: str = f.text(
        "warn", "fail: only what keeps the agent from serving; warn: what to look at, too.",
        choices=("warn", "fail"),
    )  # fmt: skip
    repeat_seconds: float = f.duration(
        "6h", "10m", "7d", "What lasts is told again this often."
    )  # fmt: skip
    per_hour: int = f.integer(
        10, 1, 1000, "No more messages an hour; the next one says how many were held back."
    )


@dataclass(frozen=True, slots=True)
class Log:
    """What is written to standard error."""

    level: str = f.text("info", "The least level.", choices=("debug", "info", "warning", "error"))
    format: str = f.text(
        "auto", "auto: colours on a terminal, else key=value.", choices=("auto", "json", "logfmt")
    )


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """Where the journal is kept: in state_dir, or on a PostgreSQL that several hosts share."""

    url_file: str = f.file(
        "",
        "A file with the URL of a PostgreSQL (postgresql+psycopg://USER@HOST/DATABASE): several "
        "hosts with the same configuration then share one journal, one leads and the others stand "
        "by. Empty: SQLite in state_dir.",
        example='"credential:journal-url"',
    )
    lease_seconds: float = f.duration(
        "4s", "3s", "30s", "How long a leader that is not heard of keeps the others waiting."
    )
    host: str = f.text("", "This host's name among them; the machine's when empty.")


NO_SETTINGS = ("base", "text")  # what a configuration has of its file


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    state_dir: str = f.folder(
        "/var/lib/oyster-provider", "Journal and image store. Losing it costs history, not jobs."
    )
    chain: Chain = field(default_factory=Chain)
    gas: Gas = field(default_factory=Gas)
    wallet: Wallet = field(default_factory=Wallet)
    aws: Aws = field(default_factory=Aws)
    offers: tuple[Offer, ...] = ()
    listing: Listing = field(default_factory=Listing)
    cards: Cards = field(default_factory=Cards)
    images: Images = field(default_factory=Images)
    jobs: Jobs = field(default_factory=Jobs)
    deadlines: Deadlines = field(default_factory=Deadlines)
    keepalive: Keepalive = field(default_factory=Keepalive)
    breaker: Breaker = field(default_factory=Breaker)
    enclave: Enclave = field(default_factory=Enclave)
    status: Status = field(default_factory=Status)
    notify: Notify = field(default_factory=Notify)
    log: Log = field(default_factory=Log)
    journal: JournalPlace = field(default_factory=JournalPlace)
    # The file's folder, where relative paths and credentials start, and its text.
    base: Path = field(default=Path(), compare=False)
    text: str = field(default="", compare=False, repr=False)  # nodes' URLs in it may have keys

    @property
    def state(self) -> Path:
        """The state directory; relative ones start at the file's folder."""
        return self.base / Path(self.state_dir).expanduser()

    @property
    def journal_file(self) -> Path:
        """The journal's database."""
        return self.state / "journal.sqlite"

    @property
    def cloud_state(self) -> Path:
        """What is remembered of launches and hosts."""
        return self.state / "cloud"

    @property
    def image_store(self) -> Path:
        """Where verified images are kept."""
        given = self.images.store_dir
        return self.base / Path(given).expanduser() if given else self.state / "images"
