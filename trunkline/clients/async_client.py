"""The client for programs with an event loop."""

from trunkline.clients.asynchronous.advice import AsyncAdvice
from trunkline.clients.asynchronous.audit import AsyncAudit
from trunkline.clients.asynchronous.examples import AsyncExamples
from trunkline.clients.asynchronous.keys import AsyncKeys
from trunkline.clients.asynchronous.labels import AsyncLabels
from trunkline.clients.asynchronous.prediction import AsyncPrediction
from trunkline.clients.asynchronous.reviews import AsyncReviews
from trunkline.clients.asynchronous.tenants import AsyncTenants
from trunkline.clients.asynchronous.training import AsyncTrainings
from trunkline.clients.asynchronous.uploads import AsyncUploads
from trunkline.clients.asynchronous.versions import AsyncVersions


class AsyncClient(
    AsyncTrainings,
    AsyncVersions,
    AsyncExamples,
    AsyncKeys,
    AsyncAudit,
    AsyncTenants,
    AsyncLabels,
    AsyncReviews,
    AsyncUploads,
    AsyncPrediction,
    AsyncAdvice,
):
    """A connection to a Trunkline server, for one event loop.

    The methods are those of `trunkline.Client`, where `address`, `timeout` and names are described.
    Files are read in a thread; `on_progress` functions are called on the event loop.
    """
