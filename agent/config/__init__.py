"""The configuration: one TOML file, environment overrides, secrets by file or systemd credential.

`model` says what can be set, `load` reads it and refuses what is wrong, `template` writes a new
file and `reference` the documentation page. Everything else takes the frozen values of `model`.
"""

from __future__ import annotations

from agent.config.load import CONFIG_VARIABLE, DEFAULT_PATH, ConfigFault, load, parse
from agent.config.model import Config

__all__ = ["CONFIG_VARIABLE", "DEFAULT_PATH", "Config", "ConfigFault", "load", "parse"]
