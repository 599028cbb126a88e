"""The client for programs without an event loop."""

from trunkline.clients.blocking.advice import BlockingAdvice
from trunkline.clients.blocking.audit import BlockingAudit
from trunkline.clients.blocking.examples import BlockingExamples
from trunkline.clients.blocking.keys import BlockingKeys
from trunkline.clients.blocking.labels import BlockingLabels
from trunkline.clients.blocking.prediction import BlockingPrediction
from trunkline.clients.blocking.reviews import BlockingReviews
from trunkline.clients.blocking.tenants import BlockingTenants
from trunkline.clients.blocking.training import BlockingTrainings
from trunkline.clients.blocking.uploads import BlockingUploads
from trunkline.clients.blocking.versions import BlockingVersions


class Client(
    BlockingTrainings,
    BlockingVersions,
    BlockingExamples,
    BlockingKeys,
    BlockingAudit,
    BlockingTenants,
    BlockingLabels,
    BlockingReviews,
    BlockingUploads,
    BlockingPrediction,
    BlockingAdvice,
):
    """A connection to a Trunkline server, safe to share between threads.

    `address` is `HOST:PORT`, `https://HOST:PORT` or `unix:PATH`. Every call has a deadline:
    `timeout` seconds, which each method lets you change. A server that is away is waited for until
    then. Heads are named `acme/defects`, tenants `acme`; their full names do as well.

    Over TLS the server must have a certificate of those in the file `ca`, without it of one that
    the system trusts; `client_cert` and `client_key` are shown to a server that asks for them. They
    are PEM files, read once. Whoever names one means TLS, with `https://` or without.

    Every method raises an exception of the tree in `trunkline.errors`.
    """
