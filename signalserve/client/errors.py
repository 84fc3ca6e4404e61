"""What a call can raise, by what the caller should do about it.

    SignalError
    ├── InvalidInput              nothing was sent: an argument can't be put into a request      mend the argument
    ├── ErrorAnswer               an HTTP error
    │   ├── RequestRefused        4xx: the request is wrong and would be wrong again             mend the request
    │   │   ├── BadJson  BadNpy  BadContentType  TooLarge
    │   │   ├── UnknownSymbol  BadShape  MissingColumns  UnknownColumns  NotFinite  BadCandles  BadWeights
    │   │   │   BadVariant  FeaturesOffScale  ExtraField  MissingField  BadField
    │   │   ├── EndpointNotFound  404: no such model on this server, or not this server's address
    │   │   └── NotAuthorised     401, 403: the front proxy or TorchServe wants other credentials
    │   └── ServiceUnavailable    5xx: the service's fault, nothing was predicted                hold; ask again later
    │       ├── ModelOutputNotFinite  NoHealthyArm  NotReady         the service says so itself
    │       ├── NoFreeWorker  PredictionFailed  WorkerDied           TorchServe says so for it
    │       └── RateLimited       429: the front proxy wants fewer requests
    ├── NoAnswer                  nothing came back                                              hold; ask again later
    │   └── ConnectionFailed  TimedOut
    └── MalformedAnswer           something came back that is no answer of this service          look who answers there

Where the service names a code, the class has its name: `bad_shape` is BadShape. The classes of `signalserve.errors`
with the same names are raised inside the service and never reach a caller of the client.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from signalserve.errors import SignalserveError


class Fault(BaseModel):
    """One entry of the service's error object. instance: the position in the request's batch, 0 outside one."""

    model_config = ConfigDict(frozen=True)

    code: str
    instance: int = 0
    field: str = ""
    expected: str = ""
    got: str = ""

    def __str__(self) -> str:
        place = f" (instance {self.instance})" if self.instance else ""
        return f"{self.code} in {self.field}: expected {self.expected}, got {self.got}{place}"


class SignalError(SignalserveError):
    """The root of what the client raises.

    request_id: of the request that failed, for the service's logs.  attempts: how often it was sent.
    is_transient: whether the same request may succeed a moment later; only such errors are retried.
    """

    is_transient: ClassVar[bool] = False
    request_id: str | None = None
    attempts: int = 0


class InvalidInput(SignalError, ValueError):
    """The client itself refused an argument; nothing was sent."""


class ErrorAnswer(SignalError):
    """The service, TorchServe or a proxy answered with an HTTP error.

    status: the HTTP status.  faults: all the service's own faults, the first one first; empty where another answered.
    code: of the first fault, or the type that TorchServe gives its errors, or "".
    """

    code: str = ""

    def __init__(self, message: str, *, status: int = 0, code: str = "", faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.faults = tuple(faults)
        if code:
            self.code = code

    @property
    def instance(self) -> int:
        """The first fault's position in the batch, 0 outside one."""
        return self.faults[0].instance if self.faults else 0

    @property
    def field(self) -> str:
        """The field at fault, such as features.rsi_14; "" where none is named."""
        return self.faults[0].field if self.faults else ""

    @property
    def expected(self) -> str:
        """What the field should hold, in words."""
        return self.faults[0].expected if self.faults else ""

    @property
    def got(self) -> str:
        """What came instead, in words."""
        return self.faults[0].got if self.faults else ""


class RequestRefused(ErrorAnswer):
    """The request is wrong, and asking again gives the same answer. All of `faults` are to be mended."""


class BadJson(RequestRefused):
    """The body is not a JSON object."""

    code = "bad_json"


class BadNpy(RequestRefused):
    """The body is not an npy array of float32 in C order."""

    code = "bad_npy"


class BadContentType(RequestRefused):
    """Neither application/json nor application/x-npy: something between rewrote the header."""

    code = "bad_content_type"


class TooLarge(RequestRefused):
    """Too many instances, or a body over the server's max_request_size."""

    code = "too_large"


class UnknownSymbol(RequestRefused):
    """No model of this symbol is served; `expected` lists those that are."""

    code = "unknown_symbol"


class BadShape(RequestRefused):
    """The features are not a window of the model."""

    code = "bad_shape"


class MissingColumns(RequestRefused):
    """The model reads columns that were not sent."""

    code = "missing_columns"


class UnknownColumns(RequestRefused):
    """Columns were sent that the model does not read."""

    code = "unknown_columns"


class NotFinite(RequestRefused):
    """A number is null, NaN, infinite or beyond float32."""

    code = "not_finite"


class BadCandles(RequestRefused):
    """The candles have a gap, a wrong order, prices that can't be, or are too few; `got` names the row."""

    code = "bad_candles"


class BadWeights(RequestRefused):
    """The weights don't sum to 1, name no generation, or came with a variant."""

    code = "bad_weights"


class BadVariant(RequestRefused):
    """The variant does not exist, or not for this symbol."""

    code = "bad_variant"


class FeaturesOffScale(RequestRefused):
    """The features can't be a market: probably scaled already, or another symbol's."""

    code = "features_off_scale"


class ExtraField(RequestRefused):
    """A field that this endpoint does not know."""

    code = "extra_field"


class MissingField(RequestRefused):
    """A field that every request needs."""

    code = "missing_field"


class BadField(RequestRefused):
    """A field with a value that it can't have."""

    code = "bad_field"


class EndpointNotFound(RequestRefused):
    """No such endpoint: the model is not loaded on this server, or base_url has another path in front."""


class NotAuthorised(RequestRefused):
    """The front proxy, or TorchServe's own token authorisation, wants other credentials: see `headers=`."""


class ServiceUnavailable(ErrorAnswer):
    """The service's fault, or a proxy's in front of it; nothing was predicted."""

    is_transient = True


class ModelOutputNotFinite(ServiceUnavailable):
    """The network gave NaN or infinity. The same window gives the same again: not retried."""

    code = "model_output_not_finite"
    is_transient = False


class NoHealthyArm(ServiceUnavailable):
    """Every model that could have answered is out of order."""

    code = "no_healthy_arm"


class NotReady(ServiceUnavailable):
    """The service is still starting."""

    code = "not_ready"


class NoFreeWorker(ServiceUnavailable):
    """TorchServe's queue is full, or none of the model's workers runs; it says the same of both."""


class PredictionFailed(ServiceUnavailable):
    """TorchServe's `Prediction failed`: the handler raised, which is a defect; its log has the reason."""


class WorkerDied(ServiceUnavailable):
    """The worker died or ran past its response timeout while it had the request; it is back in about 2 s."""


class RateLimited(ServiceUnavailable):
    """The front proxy's 429: too many requests. Not retried, which would make it worse: ask less often."""

    is_transient = False


class NoAnswer(SignalError):
    """Nothing came back. Whether the service saw the request is unknown; a prediction has no other effect."""

    is_transient = True


class ConnectionFailed(NoAnswer):
    """No connection, or it broke before an answer had come."""


class TimedOut(NoAnswer):
    """A phase of the request took longer than `timeout`, or all attempts together longer than `Retries.total_s`."""


class MalformedAnswer(SignalError):
    """An answer that is not JSON, not this service's contract, or not about what was asked."""


def classes_by_code() -> dict[str, type[ErrorAnswer]]:
    """The service's codes and their classes."""
    classes = (*RequestRefused.__subclasses__(), *ServiceUnavailable.__subclasses__())
    return {cls.code: cls for cls in classes if cls.code}
