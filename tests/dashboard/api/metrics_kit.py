"""The values of `/metrics`, as Prometheus reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from api_kit import Api


def numbers(api: Api) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return all values by name and labels."""
    response = api.ask("GET", "/metrics", "viewer")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(response.text)
        for one in family.samples
    }


def number(api: Api, name: str, **labels: str) -> float | None:
    """Return a single value, or None if there is none."""
    return numbers(api).get((f"conveyor_{name}", frozenset(labels.items())))
