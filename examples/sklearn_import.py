"""Fit scikit-learn's logistic regression on the server's embeddings, and serve it as a head."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from trunkline import Client, Embedding, Prediction
from trunkline.datasets import read_examples
from trunkline.sklearn import weights_of

BACKBONE = "minilm/l6-v2"

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("table", type=Path, help="a CSV file with the columns text and label")
parser.add_argument("--tenant", default="acme")
parser.add_argument("--server", default="127.0.0.1:50051")
options = parser.parse_args()

examples = list(read_examples(options.table))
texts = [example.input for example in examples]
labels = [example.label for example in examples]
head = f"{options.tenant}/from-sklearn"

with Client(options.server) as client:
    rows = client.embed(options.tenant, texts, BACKBONE)
    embeddings = [row for row in rows if isinstance(row, Embedding)]
    assert len(embeddings) == len(texts), "some texts could not be embedded"
    vectors = np.array([embedding.vector for embedding in embeddings])

    model = LogisticRegression(max_iter=1000).fit(vectors, labels)
    version = client.import_head(
        head,
        weights_of(model),
        BACKBONE,
        fingerprint=embeddings[0].fingerprint,
    )
    print(f"{version.name}: {', '.join(version.labels)}")

    served = [row for row in client.predict(head, texts) if isinstance(row, Prediction)]
    scores = np.array([[row.scores[label] for label in model.classes_] for row in served])
    difference = np.abs(scores - model.predict_proba(vectors)).max()
    print(f"largest difference to scikit-learn's probabilities: {difference:.1e}")
    assert difference < 1e-5
