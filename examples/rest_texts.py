"""Create, upload, train, predict and correct over REST, with nothing but an HTTP client."""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import httpx

ROWS_PER_REQUEST = 500
FINAL = ("TRAINING_STATE_SUCCEEDED", "TRAINING_STATE_FAILED", "TRAINING_STATE_CANCELLED")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("table", type=Path, help="a CSV file with the columns text and label")
parser.add_argument("--tenant", default="acme")
parser.add_argument("--head", default="over-rest")
parser.add_argument("--server", default="http://127.0.0.1:3000")
options = parser.parse_args()

with options.table.open(newline="", encoding="utf-8") as file:
    rows = [{"input": {"text": r["text"]}, "label": r["label"]} for r in csv.DictReader(file)]

heads = f"/v1/tenants/{options.tenant}/heads"
head = f"{heads}/{options.head}"

with httpx.Client(base_url=options.server, timeout=60) as http:

    def post(path: str, body: dict[str, Any]) -> Any:
        """Post JSON; a problem document ends the program with its detail."""
        response = http.post(path, json=body)
        if response.is_error:
            raise SystemExit(f"{response.status_code}: {response.json()['detail']}")
        return response.json()

    post(heads, {"head_id": options.head, "backbone": "minilm/l6-v2"})
    for start in range(0, len(rows), ROWS_PER_REQUEST):
        added = post(f"{head}/examples", {"examples": rows[start : start + ROWS_PER_REQUEST]})
        print(f"{added['added']} examples added, {added['failed']} failed")

    training = post(f"{head}:train", {})["training"]
    while training["state"] not in FINAL:
        time.sleep(0.2)
        training = http.get(f"/v1/{training['name']}").raise_for_status().json()["training"]
    print(f"{training['state']}: version {training['version']}")

    text = rows[0]["input"]
    (row,) = post(f"{head}:predict", {"inputs": [text]})["predictions"]
    print(f"{row['label']} ({row['probability']:.0%})")

    receipt = post(f"{head}:feedback", {"feedback": [{"input": text, "label": rows[0]["label"]}]})
    print(f"feedback {receipt['ids'][0]} is stored")
