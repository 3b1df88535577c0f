"""The agent as HTTP shows it: health, metrics, jobs, a page, and what the live market's tools ask.

Read only: `StatusSource` has no method that changes anything, and every route is a GET.
"""

from __future__ import annotations

from agent.status.metrics import Metrics
from agent.status.server import StatusServer
from agent.status.source import StatusSource, View

__all__ = ["Metrics", "StatusServer", "StatusSource", "View"]
