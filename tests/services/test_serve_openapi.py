"""The published description: valid, complete, and true of every answer that a fuzzer gets."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import ChecksConfig, PositiveDataAcceptanceConfig, ProjectConfig, SchemathesisConfig
from schemathesis.config import ProjectsConfig
from schemathesis.schemas import BaseSchema
from serve_world import running, small_service

EXAMPLES = 25  # of each operation, some of them wrong on purpose
# A body may be well-formed and still name an item, a run or a mixture that isn't there.
MEANT = ["2xx", "401", "404", "415", "422", "429"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    service, _ = small_service(
        tmp_path_factory.mktemp("store") / "store.db",
        "serve.rate=0", "serve.deadline=1", "serve.max_deadline=1", "serve.in_flight=32",
    )  # fmt: skip
    with running(service) as opened:
        yield opened


@pytest.fixture(scope="module")
def api(client: httpx.Client) -> BaseSchema:
    checks = ChecksConfig(positive_data_acceptance=PositiveDataAcceptanceConfig(expected_statuses=MEANT))
    projects = ProjectsConfig(default=ProjectConfig(checks=checks))
    return schemathesis.openapi.from_url(
        f"{client.base_url}/openapi.json", config=SchemathesisConfig(projects=projects)
    )


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_every_answer_is_as_described(case: schemathesis.Case) -> None:
    case.call_and_validate()
