# SPDX-License-Identifier: Apache-2.0
"""The server beside its own description: requests made from it, right ones and wrong ones, are answered as it says."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from .conftest import Start

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

EXAMPLES = int(os.environ.get("TRTPOSE_API_EXAMPLES", "200"))
"""Of an operation, as far as it has so many; those without parameters have one."""
SEED = 7


def test_every_request_is_answered_as_described(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from schemathesis import checks

    address = start()
    operations = [found.ok() for found in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations()]
    assert operations
    expected = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    statuses: Counter[int] = Counter()

    def tried(operation: Any) -> None:
        quick = settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        )

        @seed(SEED)
        @quick
        @given(case=operation.as_strategy())
        def answered(case: Any) -> None:
            answer = case.call(timeout=20)
            statuses[answer.status_code] += 1
            case.validate_response(answer, checks=expected)

        answered()

    for operation in operations:
        tried(operation)
    with capsys.disabled():
        print(
            f" {sum(statuses.values())} examples of {len(operations)} operations: {dict(sorted(statuses.items()))} ",
            end="",
        )
    assert statuses[200] > 0
    assert not any(status >= 500 for status in statuses)
