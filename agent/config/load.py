"""Reading the file: every key known, every value sound, the sections fit together.

What is wrong is said with the file, the line and the nearest valid key. The environment overrides
single values: OYSTER_CHAIN__POLL=250ms sets poll in [chain], OYSTER_STATE_DIR the top-level one.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from agent.config import checks
from agent.config.fields import KEY, Setting, key_of, setting_of
from agent.config.locate import line_of
from agent.config.model import NO_SETTINGS, Config, Offer
from agent.config.secrets import check_url, locate
from agent.secret import SecretUrl, listed, read_secret
from faults import UsageFault

CONFIG_VARIABLE = "OYSTER_CONFIG"
DEFAULT_PATH = Path("/etc/oyster-provider/config.toml")
MAX_FILE_BYTES = 1 << 20
_PREFIX = "OYSTER_"

KeyPath = tuple[str | int, ...]


class ConfigFault(UsageFault):
    """The configuration is wrong; `problems` has every finding, the message the first."""

    def __init__(self, problems: list[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = tuple(problems)


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in `path`, else in $OYSTER_CONFIG, else in /etc. Raises ConfigFault."""
    path = path_of(path, environ)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        text = raw.decode("utf-8-sig")  # editors on Windows begin a file with a mark
    except OSError as error:
        raise ConfigFault([f"{path}: {error.strerror}; {_instead(error)}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigFault([f"{path}: not UTF-8 text"]) from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigFault([f"{path}: over 1 MiB; this is no configuration"])
    return parse(text, name=str(path), base=path.absolute().parent, environ=environ)


# tomllib's words for what people mistype most, and ours.
_TOML_WORDS = (
    (re.compile("Cannot overwrite a value"), "a setting or a section stands there twice"),
    (re.compile(r"Cannot declare \('(.+)',\) twice"), r"the section [\1] stands there twice"),
    (re.compile("Invalid value"), "no value (a text stands in quotes, a list in brackets)"),
)


def _in_words(said: str) -> str:
    for theirs, ours in _TOML_WORDS:
        said = theirs.sub(ours, said)
    return said


def _instead(error: OSError) -> str:
    if error.errno == errno.EISDIR:
        return "name the file in it (a name that is empty is the folder that one is in)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "run this as root, or as the account that may read it"
    return "write one with `oyster-provider setup`, or name one with --config"


def path_of(path: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The file that counts: the one given, else $OYSTER_CONFIG, else the one in /etc."""
    return path or Path(environ.get(CONFIG_VARIABLE) or DEFAULT_PATH)


def parse(
    text: str,
    *,
    name: str = "config",
    base: Path = Path(),
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The configuration in `text`. `name` is used in errors. Raises ConfigFault."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigFault([f"{name}: {_in_words(str(error))}"]) from error
    reader = _Reader(name, text)
    overridden = reader.override(data, environ or {})
    config: Config = reader.section(Config, overridden, ())
    if not reader.problems:
        config = dataclasses.replace(config, base=base, text=text)
        config = _each_node_once(_with_file_urls(config, reader, environ or {}))
        for where, problem in checks.contradictions(config):
            reader.complain(where, problem)
    if reader.problems:
        raise ConfigFault(reader.problems)
    return config


class _Reader:
    """Turns parsed TOML into sections and collects what is wrong."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._variables: dict[KeyPath, str] = {}
        self.problems: list[str] = []

    def complain(self, path: KeyPath, problem: str) -> None:
        """Add a finding about `path`, placed where the reader of the message finds it."""
        dotted = ".".join(str(step + 1) if isinstance(step, int) else step for step in path)
        if variable := self._variables.get(path):
            self.problems.append(f"{variable} (environment): {problem}")
            return
        line = next(filter(None, (line_of(self._text, path[:n]) for n in _shrinking(path))), None)
        place = f"{self._name}:{line}" if line else self._name
        self.problems.append(f"{place}: {dotted}: {problem}")

    def section(self, cls: type[Any], data: object, path: KeyPath) -> Any:
        """An instance of the section `cls`; after a problem its values are not to be used."""
        if not isinstance(data, dict):
            self.complain(path, f"is a section: write [{path[-1]}] and its settings below")
            return cls()
        known = {key_of(field.name): field for field in _settable(cls)}
        for key in data.keys() - known.keys():
            self.complain((*path, key), "is not a setting" + _nearest(path, key, known))
        values = {
            field.name: self._value(field, data[key], (*path, key))
            for key, field in known.items()
            if key in data
        }
        for key, field in known.items():
            if KEY in field.metadata and setting_of(field).required and key not in data:
                self.complain((*path, key), "is missing; it has no default")
        return cls(**values)

    def _value(self, field: dataclasses.Field[Any], raw: object, path: KeyPath) -> Any:
        if field.name == "offers":
            return self._offers(raw, path)
        if KEY not in field.metadata:
            return self.section(_section_of(field), raw, path)
        return self._setting(setting_of(field), raw, path)

    def _setting(self, setting: Setting, raw: object, path: KeyPath) -> Any:
        try:
            return setting.read(raw)
        except ValueError as error:
            self.complain(path, str(error))
            return None

    def _offers(self, raw: object, path: KeyPath) -> tuple[Offer, ...]:
        if not isinstance(raw, list):
            self.complain(path, "is a list of sections: write [[offers]] and type, price below")
            return ()
        return tuple(self.section(Offer, item, (*path, n)) for n, item in enumerate(raw))

    def override(self, data: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
        """`data` with what the environment sets; unknown OYSTER_…__… variables are findings."""
        for variable, value in sorted(environ.items()):
            path = _path_of(variable)
            if path is None:
                continue
            if problem := _no_setting(path):
                self.problems.append(f"{variable} (environment): {problem}")
                continue
            self._variables[path] = variable
            data = _put(data, path, value)
        return data


def overridden(data: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """`data` with what the environment sets."""
    return _Reader("", "").override(data, environ)


def _path_of(variable: str) -> KeyPath | None:
    """The setting an environment variable means; None when it means none. Others have names that
    begin as ours do (OYSTER_PORT, where a service is called oyster): with one underscore only what
    is a setting's name, but for the other one, is meant for us."""
    if not variable.startswith(_PREFIX):
        return None
    said = variable.removeprefix(_PREFIX).lower()
    steps = tuple(said.split("__"))
    if len(steps) > 1 or said in _names(Config):
        return steps
    halves = ((name, said.removeprefix(f"{name}_")) for name in _sections())
    short = next(((name, key) for name, key in halves if key in _keys(name)), None)
    return (said,) if short or said == "offers" else None


def _no_setting(path: KeyPath) -> str:
    """Why an environment variable of ours sets nothing; "" when it does."""
    name, *keys = map(str, path)
    if name == "offers":
        return "offers are set in the file alone"
    if not keys:
        return "" if name in _names(Config) else _with_two(name)
    if name not in _sections():
        near = difflib.get_close_matches(name, _sections(), n=1, cutoff=0.55)
        return f"there is no section {name}" + (f"; did you mean {near[0]}?" if near else "")
    if len(keys) > 1:
        return f"is not a setting; it is written {_PREFIX}{name.upper()}__NAME"
    known = dict.fromkeys(_keys(name))
    return "" if keys[0] in known else "is not a setting" + _nearest((name,), keys[0], known)


def _with_two(said: str) -> str:
    name = next(name for name in _sections() if said.removeprefix(f"{name}_") in _keys(name))
    key = said.removeprefix(f"{name}_")
    right = f"{_PREFIX}{name.upper()}__{key.upper()}"
    return f"sets nothing; {name}.{key} is {right}, with two underscores"


def _names(cls: type[Any]) -> frozenset[str]:
    """The keys of settings right in it."""
    return frozenset(key_of(field.name) for field in _settable(cls) if KEY in field.metadata)


@cache
def _sections() -> Mapping[str, type[Any]]:
    return {
        field.name: _section_of(field)
        for field in _settable(Config)
        if KEY not in field.metadata and field.name != "offers"
    }


def _keys(section: str) -> frozenset[str]:
    return _names(_sections()[section])


def _put(data: dict[str, Any], path: KeyPath, value: str) -> dict[str, Any]:
    head = str(path[0])
    if len(path) == 1:
        return {**data, head: value}
    inner: object = data.get(head, {})
    return {**data, head: _put(inner, path[1:], value)} if isinstance(inner, dict) else data


def _settable(cls: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(field for field in dataclasses.fields(cls) if field.name not in NO_SETTINGS)


def _section_of(field: dataclasses.Field[Any]) -> type[Any]:
    factory: object = field.default_factory
    assert isinstance(factory, type)
    return factory


def _nearest(path: KeyPath, key: str, known: Mapping[str, object]) -> str:
    if path and key in {*_names(Config), "offers"}:
        return f" of a section; write {key} above the first [section]"
    found = difflib.get_close_matches(key, known, n=1, cutoff=0.55)
    where = ".".join(str(step) for step in path if isinstance(step, str))
    if not found:
        elsewhere = _elsewhere(key)
        return f"; did you mean {elsewhere}?" if elsewhere else f"; valid here: {', '.join(known)}"
    return f"; did you mean {where + '.' if where else ''}{found[0]}?"


def _elsewhere(key: str) -> str | None:
    """The same key in another section, for settings written into the wrong one."""
    return next((f"{name}.{key}" for name in _sections() if key in _keys(name)), None)


def _shrinking(path: KeyPath) -> Iterator[int]:
    return iter(range(len(path), 0, -1))


def _with_file_urls(config: Config, reader: _Reader, environ: Mapping[str, str]) -> Config:
    """Adds the URLs of chain.rpc_urls_file, which is as secret as a key."""
    if not config.chain.rpc_urls_file:
        return config
    urls = config.chain.rpc_urls
    try:
        text = read_secret(locate(config.chain.rpc_urls_file, config.base, environ))
        for number, line in listed(text):
            try:
                urls += (check_url(line),)
            except ValueError as error:
                reader.complain(("chain", "rpc_urls_file"), f"line {number} of it: {error}")
    except UsageFault as error:
        reader.complain(("chain", "rpc_urls_file"), str(error))
    chain = dataclasses.replace(config.chain, rpc_urls=urls)
    return dataclasses.replace(config, chain=chain)


def _each_node_once(config: Config) -> Config:
    """A node that is listed twice is no second one: it would confirm its own word."""
    urls: dict[tuple[str, ...], SecretUrl] = {}
    for url in config.chain.rpc_urls:
        urls.setdefault(url.same, url)
    chain = dataclasses.replace(config.chain, rpc_urls=tuple(urls.values()))
    return dataclasses.replace(config, chain=chain)
