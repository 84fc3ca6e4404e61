"""The client for bots: asks a running service for predictions, and needs neither torch nor the server.

    from signalserve.client import NoAnswer, ServiceUnavailable, SignalClient

    with SignalClient("http://127.0.0.1:8080") as client:
        prediction = client.predict("BTC-USD", candles=candles)
        if prediction.confidence > 0.75 and not prediction.warnings:
            trade(prediction.direction)

Keep one client for as long as the bot lives: it holds its connection open. `AsyncSignalClient` has the same methods to
be awaited. What can go wrong is a tree of classes, drawn at the top of `errors.py`.

The data's way: `requests.py` (arguments -> bytes), `exchange.py` (attempts, waits, deadline), `responses.py` (bytes ->
results or errors). All three know no network; `sync.py` and `asynchronous.py` only carry the bytes.
"""

from signalserve.client.asynchronous import AsyncSignalClient
from signalserve.client.errors import (
    BadCandles,
    BadContentType,
    BadField,
    BadJson,
    BadNpy,
    BadShape,
    BadVariant,
    BadWeights,
    ConnectionFailed,
    EndpointNotFound,
    ErrorAnswer,
    ExtraField,
    Fault,
    FeaturesOffScale,
    InvalidInput,
    MalformedAnswer,
    MissingColumns,
    MissingField,
    ModelOutputNotFinite,
    NoAnswer,
    NoFreeWorker,
    NoHealthyArm,
    NotAuthorised,
    NotFinite,
    NotReady,
    PredictionFailed,
    RateLimited,
    RequestRefused,
    ServiceUnavailable,
    SignalError,
    TimedOut,
    TooLarge,
    UnknownColumns,
    UnknownSymbol,
    WorkerDied,
)
from signalserve.client.explanations import explain
from signalserve.client.requests import Instance, Outcome
from signalserve.client.results import DIRECTIONS, Direction, ModelAnswer, OutcomeTally, Pool, Prediction, Readiness
from signalserve.client.retries import Retries
from signalserve.client.sync import SignalClient

__all__ = [
    "DIRECTIONS",
    "AsyncSignalClient",
    "BadCandles",
    "BadContentType",
    "BadField",
    "BadJson",
    "BadNpy",
    "BadShape",
    "BadVariant",
    "BadWeights",
    "ConnectionFailed",
    "Direction",
    "EndpointNotFound",
    "ErrorAnswer",
    "ExtraField",
    "Fault",
    "FeaturesOffScale",
    "Instance",
    "InvalidInput",
    "MalformedAnswer",
    "MissingColumns",
    "MissingField",
    "ModelAnswer",
    "ModelOutputNotFinite",
    "NoAnswer",
    "NoFreeWorker",
    "NoHealthyArm",
    "NotAuthorised",
    "NotFinite",
    "NotReady",
    "Outcome",
    "OutcomeTally",
    "Pool",
    "Prediction",
    "PredictionFailed",
    "RateLimited",
    "Readiness",
    "RequestRefused",
    "Retries",
    "ServiceUnavailable",
    "SignalClient",
    "SignalError",
    "TimedOut",
    "TooLarge",
    "UnknownColumns",
    "UnknownSymbol",
    "WorkerDied",
    "explain",
]
