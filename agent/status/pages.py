"""The page: its files, and what it asks for, in the forms that it draws.

Amounts go out as texts, since they exceed 2^53. What an answer costs does not grow with the number
of jobs but for a look at each of them (`job_rows`).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from agent.ports import Clock
from agent.status.cockpit import DayRow, Figures, History, PastRow
from agent.status.explorer import Explorer
from agent.status.finding import Found, Query
from agent.status.source import JobState, StatusSource, View, job_json, view_json
from faults import Fault

_PAGE = Path(__file__).parent / "page"
_SHELLS = {"/": "index.html", "/past": "past.html", "/job/{number:int}": "job.html"}
_FILES = sorted(path.name for path in _PAGE.iterdir() if path.suffix in (".css", ".js"))
MOST_JOB = 2**63 - 1  # what the journal can hold


class Pages:
    """The handlers."""

    def __init__(
        self, source: StatusSource, history: History, clock: Clock, stall_seconds: float
    ) -> None:
        self._source = source
        self._history = history
        self._clock = clock
        self._stall_seconds = stall_seconds

    def routes(self) -> list[Route]:
        return [
            Route("/now", self._now),
            Route("/figures", self._figures),
            Route("/past.json", self._past),
            Route("/job/{number:int}.json", self._job),
            *(Route(path, _file(name)) for path, name in _SHELLS.items()),
            *(Route(f"/{name}", _file(name)) for name in _FILES),
        ]

    async def _now(self, request: Request) -> Response:
        """The agent, and one page of its jobs."""
        crowd = self._source.find(Query.parse(request.query_params))
        view = self._source.summary()
        shown = view_json(view, self._clock.now(), self._stall_seconds)
        explorer = Explorer(view.explorer)
        shown["links"] = {name: explorer.account(shown[name]) for name in ("provider", "registry")}
        shown["jobs"] = [job_json(row) for row in crowd.page.rows]
        shown["page"] = _bounds(crowd.page)
        shown["counts"] = {state.value: crowd.counts.get(state, 0) for state in JobState}
        shown["nearest"] = crowd.nearest
        return JSONResponse(shown)

    async def _figures(self, request: Request) -> Response:
        return JSONResponse(figures_json(self._history.figures()))

    async def _past(self, request: Request) -> Response:
        try:
            found = await self._history.past(Query.parse(request.query_params))
        except Fault as fault:
            return JSONResponse({"error": str(fault)}, 503)
        rows = [_past_json(row) for row in found.rows]
        view = self._source.summary()
        token = {"symbol": view.money.symbol, "decimals": view.money.decimals}
        told = {"jobs": rows, "page": _bounds(found), "money": token, "word": self._word(view)}
        return JSONResponse(told)

    def _word(self, view: View) -> str:
        stalled = self._clock.now() - view.progress_at > self._stall_seconds
        return "stalled" if stalled else view.health.word

    async def _job(self, request: Request) -> Response:
        number = int(request.path_params["number"])
        try:
            found = await self._history.job(number) if number <= MOST_JOB else None
        except Fault as fault:
            return JSONResponse({"error": str(fault)}, 503)
        if found is None:
            return JSONResponse({"error": f"job {number} is not known here"}, 404)
        view = self._source.summary()
        token = {
            name: getattr(view.money, name)
            for name in ("symbol", "decimals", "stake_symbol", "stake_decimals")
        }
        return JSONResponse({**found, "token": token, "word": self._word(view)})


def figures_json(figures: Figures) -> dict[str, Any]:
    """Everything that is worked out once a minute."""
    return {
        **asdict(figures),
        "days": [_day_json(day) for day in figures.days],
        "ranks": [
            {**asdict(row), "price": _text(row.price), "cheapest_other": _text(row.cheapest_other)}
            for row in figures.ranks
        ],
    }


def _day_json(day: DayRow) -> dict[str, Any]:
    amounts = {"earned": day.earned, "cost": day.cost, "margin": day.margin, "gas": day.gas}
    told = {name: _text(amount) for name, amount in amounts.items()}
    return {**told, "start": day.start, "slashed": str(day.slashed), "harms": day.harms or {}}


def _past_json(row: PastRow) -> dict[str, Any]:
    return {**asdict(row), "earned": _text(row.earned)}


def _bounds(found: Found[Any]) -> dict[str, int]:
    names = ("start", "count", "found", "total")
    return {name: getattr(found, name) for name in names}


def _text(amount: int | None) -> str | None:
    return None if amount is None else str(amount)


def _file(name: str) -> Any:
    async def send(request: Request) -> Response:
        return FileResponse(_PAGE / name)

    return send
