"""What the agent's core asks of the world is what this package gives; held by the type checker."""

from __future__ import annotations

import pytest

from agent.ports import Cloud, Mailbox
from cloud.aws import Aws

pytestmark = pytest.mark.unit


def test_aws__as_the_agent_sees_it__fits(aws: Aws) -> None:
    cloud: Cloud = aws
    mailbox: Mailbox = aws.mailbox
    assert cloud is aws
    assert mailbox is aws.mailbox
