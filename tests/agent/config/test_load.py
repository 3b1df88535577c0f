"""Reading the configuration: what is taken, what is refused and how that is said."""

from __future__ import annotations

import errno
import os
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Config, ConfigFault, load, parse
from agent.config.locate import line_of
from agent.config.model import Offer
from agent.config.secrets import check_url, locate
from agent.config.units import (
    Rate,
    read_bytes,
    read_seconds,
    read_wei,
    show_bytes,
    show_seconds,
    show_wei,
)
from agent.secret import SecretUrl, read_secret
from enclave.attest.init_params import KNOWN_IMAGES
from faults import UsageFault

pytestmark = pytest.mark.unit

REGISTRY = "0x" + "ab" * 20
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
CID0 = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"  # the same, as version 0
BASE = f"""\
state_dir = "state"
[chain]
chain_id = 31337
registry = "{REGISTRY}"
rpc_urls = ["http://127.0.0.1:8545"]
[wallet]
key_file = "key"
[aws]
regions = ["us-east-1"]
[[offers]]
type = "us-east-1/c6a.xlarge"
price = "0.17/h"
"""


def test_parse__the_least_file__has_every_default() -> None:
    config = parse(BASE)
    assert config.chain.chain_id == 31337
    assert config.offers == (Offer("us-east-1/c6a.xlarge", Rate(Decimal("0.17"), "h")),)
    assert config.offers[0].region == "us-east-1"
    assert config.keepalive == Config().keepalive
    assert config.chain.poll_seconds == 1


CHECKSUMMED = "0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF"


def test_parse__an_address_whose_checksum_is_wrong__is_a_typing_error() -> None:
    for good in (CHECKSUMMED, CHECKSUMMED.lower(), "0x" + CHECKSUMMED[2:].upper()):
        parse(BASE.replace(REGISTRY, good))
    for bad in (CHECKSUMMED.replace("D5c4", "d5c4"), CHECKSUMMED.replace("795c", "796c")):
        with pytest.raises(ConfigFault, match=f"chain.registry: '{bad}' has a wrong checksum"):
            parse(BASE.replace(REGISTRY, bad))
        with pytest.raises(ConfigFault, match=r"jobs\.deny_owners: .* has a wrong checksum"):
            parse(BASE + f'[jobs]\ndeny_owners = ["{bad}"]')


def test_parse__units__arrive_in_base_units() -> None:
    config = parse(BASE + '[images]\nstall = "250ms"\nmax_size = "1GiB"\n[gas]\nmax_fee = "2gwei"')
    assert (config.images.stall_seconds, config.images.max_size_bytes) == (0.25, 2**30)
    assert config.gas.max_fee_wei == 2 * 10**9


@pytest.mark.parametrize(
    "listen",
    ["::1:8470", "http://127.0.0.1:8470", "127.0.0.1:0", ":8470", "8470", "localhost", "[::1]",
     "[::1:8470", "[1.2.3.4]:80", "a b:80", "me@here:80", "here/there:80", "127.0.0.1:8470/",
     "127.0.0.1:٨٠", "127.0.0.1:70000"],
)  # fmt: skip
def test_parse__listen_is_nothing_that_can_be_asked__is_refused(listen: str) -> None:
    with pytest.raises(ConfigFault, match=r"status.listen: .* or '\[::1\]:8470'"):
        parse(BASE + f'[status]\nexpose = true\nlisten = "{listen}"')


@pytest.mark.parametrize(
    "listen", ["", "127.0.0.1:8470", "localhost:80", "[::1]:8470", "[::]:65535", "my-host.lan.:1"]
)
def test_parse__listen_can_be_asked__is_kept(listen: str) -> None:
    config = parse(BASE + f'[status]\nexpose = true\nlisten = "{listen}"')
    assert config.status.listen == listen


MINE = "x=" + ":".join(digit * 96 for digit in "aBc")
BLUE = "mine=" + ":".join(KNOWN_IMAGES[0].pcrs)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "[chain]\nrpc_url = []",
            14,
            "is not a setting; did you mean chain.rpc_urls?",
        ),
        ("[imagse]", 13, "imagse: is not a setting; did you mean images?"),
        (
            '[status]\nexplorer = "javascript:alert(1)"',
            14,
            "status.explorer: is not an address such as https://arbiscan.io",
        ),
        (
            '[images]\n\n# why\nstall = "10"',
            16,
            "stall: '10' is not a duration such as '15m'",
        ),
        ("[images]\nstall = 10", 14, "images.stall: 10 is not a text in quotes"),
        ('[images]\nmax_size = "2gb"', 14, "'2gb' is not a size"),
        ('[images]\nmax_size = "100GiB"', 14, "100GiB is not between"),
        ('[keepalive]\npoll = "1s"', 14, "did you mean chain.poll?"),
        ("[jobs]\nallow_owners = [\n  '0x12',\n]", 14, "'0x12' is not an address"),
        ('[jobs]\non_refusal = "ignore"', 14, "'ignore' is none of exit, leave"),
        ("[breaker]\nshare = 1.5", 14, "is not between 0 and 1"),
        ("breaker = 5", 13, "offers.1.breaker: is not a setting"),
        ('[images]\nmax_size = "2GiB"\nquota = "1GiB"', 15, "is less than images.max_size"),
        ("[wallet2]\n", 13, "did you mean wallet?"),
        ('[status]\nlisten = "0.0.0.0:80"', 14, "not on loopback"),
        ('[[offers]]\ntype = "us-east-1/c6a.xlarge"\nprice = "1/h"', 11, "is offered 2 times"),
        ('[[offers]]\ntype = "eu-west-1/c6a.xlarge"\nprice = "1/h"', 14, "not in aws.regions"),
        ('[[offers]]\ntype = "us-east-1/m5.large"\nprice = "0/h"', 15, "must be more than 0"),
        ('[[offers]]\nprice = "1/h"', 13, "offers.2.type: is missing"),
        ("[enclave]\ndebug = true", 14, "cannot be attested by AWS's root"),
        ('[enclave]\nports = ["22:22", "1300:1300"]', 14, "22 is the host's own"),
        ('[enclave]\nports = ["80:80"]', 13, "1300 is not in enclave.ports"),
        ('[enclave]\nknown_images = ["x=ab:cd:ef"]', 14, "'x' is not NAME=PCR0:PCR1:PCR2"),
        (f'[enclave]\nknown_images = ["{MINE}", "y={MINE[2:]}"]', 14, "'y' is known as x already"),
        (f'[enclave]\nknown_images = ["{BLUE}"]', 14, "is known as https://artifacts.marlin.org/"),
        ('[keepalive]\nprobe = "1s"', 13, "is more than keepalive.probe"),
        ('[images]\nkubo_api = "nonsense"', 14, "no address of a Kubo node's RPC"),
        ('[images]\nkubo_api = "http://127.0.0.1:5001/x"', 14, "always /api/v0"),
        ('[images]\ngateways = ["https://a.b?t=s3cret"]', 14, "a query or a fragment"),
        ('[images]\ngateways = ["https://u:s3cret@a.b"]', 14, "no user info"),
        ('[images]\ngateways = ["127.0.0.1:8080"]', 14, "write it like https://ipfs.io"),
        ('[jobs]\ndeny_images = ["app.eif"]', 14, "neither a CID nor a SHA-256"),
        (
            f'[jobs]\nallow_images = ["{CID}"]\ndeny_images = ["ipfs://{CID0}"]',
            15,
            "allow_images too",
        ),
        ("[chain]\nx = 1", None, "[chain] stands there twice"),
    ],
)
def test_parse__something_wrong__is_said_with_its_line(
    text: str, line: int | None, said: str
) -> None:
    whole = BASE + text
    if text.startswith(("[chain]", "[wallet]")) and line is not None:
        head, _, rest = BASE.partition("[chain]\n")
        whole = head + "[chain]\n" + text.removeprefix("[chain]\n") + "\n" + rest
        line = 3
    with pytest.raises(ConfigFault) as caught:
        parse(whole, name="c.toml")
    message = "; ".join(caught.value.problems)
    assert said in message
    assert line is None or f"c.toml:{line}: " in message
    assert "s3cret" not in message


def test_parse__several_findings__are_all_kept_and_counted() -> None:
    with pytest.raises(ConfigFault, match=r"and 2 more\)$") as caught:
        parse(BASE + '[log]\nlevle = "info"\nformat = "xml"\n[gsa]')
    assert len(caught.value.problems) == 3
    assert caught.value.exit_code == 2


def test_parse__two_keys_or_none__are_refused() -> None:
    for wallet, said in (
        ("", "none of them"),
        ('key_file="a"\nkms_key_id="b"', "key_file and kms"),
    ):
        with pytest.raises(ConfigFault, match=said):
            parse(BASE.replace('key_file = "key"', wallet))


def test_parse__no_key__is_served_with_where_the_market_lets_anybody_settle() -> None:
    named = BASE.replace('key_file = "key"', "").replace(
        "[chain]", f'[chain]\nmarket = "marketv1"\nprovider = "0x{"52" * 20}"', 1
    )
    assert parse(named).wallet.given == ()
    with pytest.raises(ConfigFault, match=r"chain\.provider: is missing; without a key"):
        parse(named.replace(f'provider = "0x{"52" * 20}"', ""))
    with pytest.raises(ConfigFault, match="none of them"):
        parse(named.replace("marketv1", "registry"))


def test_environment__overrides__one_value_of_a_section() -> None:
    environ = {
        "OYSTER_CHAIN__POLL": "250ms",
        "OYSTER_STATE_DIR": "/elsewhere",
        "OYSTER_AWS__REGIONS": "us-east-1, eu-west-1",
        "OYSTER_LISTING__FOLLOW_CAPACITY": "false",
        "OYSTER_BREAKER__MIN_JOBS": "7",
        "OYSTER_TESTDATA": "not a setting, not ours",
        "HOME": "/root",
    }
    config = parse(BASE, environ=environ)
    assert config.chain.poll_seconds == 0.25
    assert config.state == Path("/elsewhere")
    assert config.aws.regions == ("us-east-1", "eu-west-1")
    assert config.listing.follow_capacity is False
    assert config.breaker.min_jobs == 7


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("OYSTER_LOG_LEVEL", "log.level is OYSTER_LOG__LEVEL, with two underscores"),
        ("OYSTER_AWS_BUCKET_PREFIX", "aws.bucket_prefix is OYSTER_AWS__BUCKET_PREFIX"),
        ("OYSTER_CHIAN__POLL", "there is no section chian; did you mean chain?"),
        ("OYSTER_CHAIN__POLL__X", "is written OYSTER_CHAIN__NAME"),
        ("OYSTER_CHAIN__", "is not a setting"),
        ("OYSTER_OFFERS", "offers are set in the file alone"),
        ("OYSTER_OFFERS__0__PRICE", "offers are set in the file alone"),
    ],
)
def test_environment__a_variable_that_sets_nothing__is_named_with_the_way_to_write_it(
    variable: str, said: str
) -> None:
    with pytest.raises(ConfigFault) as caught:
        parse(BASE, environ={variable: "debug"})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{variable} (environment): ")
    assert said in problem


@pytest.mark.parametrize(
    "variable",
    ["OYSTER_PORT", "OYSTER_CHAIN_PORT", "OYSTER_CHAIN_SERVICE_HOST", "OYSTER_CHAIN", "OYSTER_",
     "OYSTER_LOG_LEVEL_OLD", "OYSTER_CONFIG", "OYSTERS_LOG_LEVEL"],
)  # fmt: skip
def test_environment__names_of_others__are_none_of_ours(variable: str) -> None:
    assert parse(BASE, environ={variable: "tcp://10.0.0.1:80"}) == parse(BASE)


@pytest.mark.parametrize("line", ['state_dir = "/x"', "offers = []"])
def test_parse__a_line_of_the_top_stands_in_a_section__is_told_where_it_belongs(line: str) -> None:
    with pytest.raises(ConfigFault, match=r"write \w+ above the first \[section\]"):
        parse(BASE + "[log]\n" + line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('state_dir = ""', "state_dir: is empty"),
        ('state_dir = "~nobody-of-that-name/state"', "~ is no folder here"),
        ('state_dir = "$HOME/state"', "nothing is put in place of variables"),
        ('state_dir = "a\\u0000b"', "is no path"),
        ('images.store_dir = "${HOME}/images"', "nothing is put in place of variables"),
        ('notify.urls_file = "~nobody-of-that-name/urls"', "~ is no folder here"),
        ('state_dir = "state"\nstate_dir = "other"', "a setting or a section stands there twice"),
        ("log = {}\n[log]", r"the section \[log\] stands there twice"),
        ("state_dir = /var/lib", "a text stands in quotes"),
    ],
)
def test_parse__what_leads_nowhere_or_stands_twice__is_said_in_words(line: str, said: str) -> None:
    with pytest.raises(ConfigFault, match=said):
        parse(BASE.replace('state_dir = "state"', line))


def test_store__below_the_home_folder__is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    config = parse('images.store_dir = "~/images"\n' + BASE, base=Path("/etc/oyster-provider"))
    assert config.image_store == Path("/home/somebody/images")


def test_load__a_folder__is_said_with_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match="name the file in it"):
        load(tmp_path, {})


def test_load__a_file_that_one_may_not_read__is_no_file_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: object, **_named: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read any
    with pytest.raises(ConfigFault, match="run this as root") as told:
        load(tmp_path / "c.toml", {})
    assert "setup" not in str(told.value)


def test_load__a_file_that_begins_with_a_mark_of_byte_order__is_read(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("\ufeff" + BASE)
    assert load(tmp_path / "c.toml", {}) == parse(BASE)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OYSTER_CHAIN__POL", "1s", "OYSTER_CHAIN__POL (environment): is not a setting"),
        ("OYSTER_CHAIN__POLL", "1", "OYSTER_CHAIN__POLL (environment): '1' is not a duration"),
        ("OYSTER_CHIAN__POLL", "1s", "did you mean chain?"),
    ],
)
def test_environment__something_wrong__names_the_variable(
    variable: str, value: str, said: str
) -> None:
    with pytest.raises(ConfigFault) as caught:
        parse(BASE, environ={variable: value})
    assert said in caught.value.problems[0]


def test_load__no_file__says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match="oyster-provider setup"):
        load(tmp_path / "none.toml", {})


def test_load__relative_paths__start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(BASE)
    config = load(None, {"OYSTER_CONFIG": str(tmp_path / "c.toml")})
    assert config.journal_file == tmp_path / "state" / "journal.sqlite"
    assert config.image_store == tmp_path / "state" / "images"


def test_urls__of_one_node_written_twice__are_one_node(tmp_path: Path) -> None:
    urls = [
        "https://a.example/v2/KEY", "https://b.example", "https://A.example:443/v2/KEY/",
        "https://a.example/v2/OTHER", "https://b.example/",
    ]  # fmt: skip
    config = parse(BASE.replace('["http://127.0.0.1:8545"]', str(urls).replace("'", '"')))
    assert [url.reveal() for url in config.chain.rpc_urls] == [urls[0], urls[1], urls[3]]
    (tmp_path / "urls").write_text("http://127.0.0.1:8545/\n")
    (tmp_path / "urls").chmod(0o600)
    told = parse(BASE.replace("[wallet]", 'rpc_urls_file = "urls"\n[wallet]'), base=tmp_path)
    assert len(told.chain.rpc_urls) == 1
    assert parse(BASE.replace('["us-east-1"]', '["us-east-1", "us-east-1"]')).aws.regions == (
        "us-east-1",
    )


def test_urls__in_a_secret_file__are_added_and_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "urls"
    secret.write_text("https://user:hunter2@a.example/v3/hunter3?key=hunter4\n\n")
    secret.chmod(0o600)
    (tmp_path / "c.toml").write_text(BASE.replace("[wallet]", 'rpc_urls_file = "urls"\n[wallet]'))
    config = load(tmp_path / "c.toml", {})
    assert config.chain.rpc_urls[1].reveal().endswith("hunter4")
    assert str(config.chain.rpc_urls[1]) == "https://a.example/…"
    assert "hunter" not in repr(config) + str(config.chain)


def test_urls__in_a_file_with_comments_and_marks__are_read_and_wrong_ones_named_by_line(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "urls"
    secret.write_text("\ufeff# mine\r\nhttps://a.example/hunter2\r\n\r\n  # theirs\r\n")
    secret.chmod(0o600)
    text = BASE.replace("[wallet]", 'rpc_urls_file = "urls"\n[wallet]')
    (tmp_path / "c.toml").write_text(text)
    assert len(load(tmp_path / "c.toml", {}).chain.rpc_urls) == 2
    secret.write_text(secret.read_text() + "RPC=https://b.example/hunter3\n")
    with pytest.raises(ConfigFault, match="line 5 of it: this is not a URL") as caught:
        load(tmp_path / "c.toml", {})
    assert "hunter" not in "".join(caught.value.problems)


def test_urls__a_broken_one__is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigFault) as caught:
        parse(BASE.replace("http://127", "htp://hunter2@127"))
    assert "hunter2" not in "".join(caught.value.problems)


@given(st.text(max_size=40))
def test_check_url__any_text__is_a_url_or_a_value_error(text: str) -> None:
    try:
        url = check_url(text)
    except ValueError:
        return
    assert isinstance(url, SecretUrl)
    assert str(url).startswith(("http", "ws"))


def test_credentials__are_found_for_the_service_and_for_its_operator(tmp_path: Path) -> None:
    service, beside = tmp_path / "run", tmp_path / "credentials"
    for folder in (service, beside):
        folder.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(service)}
    with pytest.raises(UsageFault, match="not found as"):
        locate("credential:password", tmp_path, environ)
    (beside / "password").write_text("x")
    assert locate("credential:password", tmp_path, environ) == beside / "password"
    (service / "oyster_password").write_text("x")
    assert locate("credential:password", tmp_path, environ) == service / "oyster_password"
    (service / "password").write_text("x")
    assert locate("credential:password", tmp_path, environ) == service / "password"
    for bad in ("credential:../key", "credential:", "credential:.hidden"):
        with pytest.raises(UsageFault, match="name"):
            locate(bad, tmp_path, environ)


def test_read_secret__open_to_others__is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    assert read_secret(file) == "hunter2"
    file.chmod(0o640)
    with pytest.raises(UsageFault, match="chmod 600") as caught:
        read_secret(file)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(UsageFault, match="No such file"):
        read_secret(tmp_path / "none")


@given(st.integers(1, 10**9))
def test_units__shown__read_back_the_same(amount: int) -> None:
    assert read_seconds(show_seconds(amount)) == amount
    assert read_bytes(show_bytes(amount)) == amount
    assert read_wei(show_wei(amount * 10**7)) == amount * 10**7


@pytest.mark.parametrize(
    "text", ["", "15", "m", "-1m", "1 0m", "1e3s", "15 minutes", "\u0661m", "9" * 99]
)
def test_units__anything_else__is_a_value_error(text: str) -> None:
    for read in (read_seconds, read_bytes, read_wei):
        with pytest.raises(ValueError, match="such as"):
            read(text)


@given(
    st.lists(st.sampled_from(["", "# c", "b = [\n 1,\n 2]", 'c = """\na = 1\n"""', "d = {e = 1}"]))
)
def test_line_of__whatever_is_around__finds_the_statement(noise: list[str]) -> None:
    unique = list(dict.fromkeys(noise))
    text = "\n".join([*unique, "[t]", "a = [", "1,", "]", ""])
    tomllib.loads(text)
    line = line_of(text, ("t", "a"))
    assert line is not None
    assert text.splitlines()[line - 1] == "a = ["
    assert line_of(text, ("t", "nothing")) is None


@given(st.binary(max_size=200))
def test_load__any_bytes__are_refused_in_words(data: bytes) -> None:
    path = Path(os.devnull).parent / "shm" / f"oyster-config-{os.getpid()}"
    path.write_bytes(data)
    try:
        with pytest.raises(ConfigFault):
            load(path, {})
    finally:
        path.unlink()
