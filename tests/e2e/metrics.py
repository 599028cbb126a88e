"""What /metrics says."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


def samples(http: httpx.Client, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    response = http.get("/metrics")
    assert response.status_code == 200
    found = [
        sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found)
