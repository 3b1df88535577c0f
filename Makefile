# Every target works on a machine with Python >= 3.11 and make: .venv is made when it is missing.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed
SEEDS  ?= 1000
SECONDS ?= 600
OUTAGE  ?= 300
TIMES  ?= 20
# As many as there are cores: whole markets keep time.
WORKERS ?= auto

.PHONY: help demo test unit check format contracts bench guard storm failover fuzz real real-nitro nightly dist deb man release clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[devnet,dev]'
	touch $@

demo: $(STAMP)   ## a whole market on this machine, one job from request to refund; MARKET=marketv1
	$(BIN)/oyster-provider demo $(if $(MARKET),--market $(MARKET))

test: $(STAMP)   ## every test, on all cores
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

unit: $(STAMP)   ## the inner loop: every unit test
	$(BIN)/python -m pytest -m unit -n auto --dist loadfile

check: $(STAMP)  ## ruff, formatting, types, the arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy cli.py faults.py program.py
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

contracts: $(STAMP) ## compile the Vyper sources to contracts/artifacts/
	$(BIN)/python -m contracts.compile

bench: $(STAMP)  ## measured figures, side by side; writes bench/results/
	$(BIN)/python -m bench

guard: $(STAMP)  ## whether a ratio of the last bench got worse than what was accepted
	$(BIN)/python -m bench --guard

real: $(STAMP)   ## the package under a real systemd, from install to purge, OUTAGE=300 s of nodes away among it; as root
	OYSTER_REAL=1 OYSTER_REAL_OUTAGE=$(OUTAGE) $(BIN)/python -m pytest --timeout 900 tests/real

real-nitro: $(STAMP) ## enclaves that boot: QEMU's nitro-enclave machine, built once (minutes) and kept in the cache
	$(BIN)/python -m devnet.nitro
	OYSTER_REAL_NITRO=1 $(BIN)/python -m pytest --timeout 900 tests/real/test_nitro*.py

nightly: $(STAMP) ## what CI has no minutes for, real and real-nitro; their results go into docs/nightly.md
	$(BIN)/python -m tests.real.nightly

storm: $(STAMP)  ## SEEDS=1000 simulated markets in which everything goes wrong; WIRE=1: over JSON-RPC; MARKET=marketv1; HOSTS=2
	$(BIN)/python -m devnet.simulation $(SEEDS) $(if $(WIRE),--wire) $(if $(HOSTS),--hosts $(HOSTS)) $(if $(MARKET),--market $(MARKET))

failover: $(STAMP) ## TIMES=20: each fault of one of two hosts so often, and how long the other took
	$(BIN)/python -m tests.failover $(TIMES)

fuzz: $(STAMP)   ## SECONDS=600 of strange input for all readers; NAMES="rpc": for these alone
	$(BIN)/python -m tests.fuzz $(SECONDS) $(NAMES)

dist: $(STAMP)   ## wheel, sdist and SBOM in dist/, each built twice and compared
	rm -rf dist
	$(BIN)/python -m release dist

deb: $(STAMP)    ## a package for Debian 12 and 13 in dist/, built twice and compared
	rm -f dist/*.deb
	$(BIN)/python -m release deb

man: $(STAMP)    ## the man page, made from the commands, to standard output
	@$(BIN)/python -m release man

release: check test dist deb ## all of it, then the checklist: what a release still needs
	$(BIN)/python -m release check

clean:           ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build dist
