"""Everything that can go wrong, as classes that know their code, their HTTP status and their words.

    SignalserveError
    ├── BadRequest                 the caller's mistake; nothing was predicted
    │   ├── BadJson  BadNpy  BadContentType                          400, the body can't be read
    │   ├── TooLarge                                                 413
    │   └── UnknownSymbol  BadShape  MissingColumns  UnknownColumns  NotFinite  BadCandles
    │       BadWeights  BadVariant  FeaturesOffScale  ExtraField  MissingField  BadField      422
    ├── ServiceFault               the service's fault; nothing was predicted, 503
    │   └── ModelOutputNotFinite  NoHealthyArm  NotReady
    └── OperatorError              something on this machine must be mended first; one line, exit code 2
        └── BundleError  CheckpointError  ConfigError  EngineError  DataError  JournalError  PortTaken

Every error says what was expected, what came, and (where it is not obvious) what to do.
"""

from typing import Any, ClassVar


class SignalserveError(Exception):
    """The root of this package's exceptions."""


class RequestError(SignalserveError):
    """An error that one request is answered with: a status and the JSON object of the contract."""

    code: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, field: str, *, expected: str, got: str, instance: int | None = None) -> None:
        self.field = field
        self.expected = expected
        self.got = got
        self.instance = instance
        super().__init__(f"{self.code} in {field}: expected {expected}, got {got}")

    def as_dict(self) -> dict[str, Any]:
        """The contract's error object; `instance` is the position in the request's batch, 0 outside one."""
        return {
            "code": self.code,
            "instance": self.instance or 0,
            "field": self.field,
            "expected": self.expected,
            "got": self.got,
        }


class BadRequest(RequestError):
    """The caller's mistake. Raised while reading a request, never after a model has run."""

    status = 422


class BadJson(BadRequest):
    code, status = "bad_json", 400


class BadNpy(BadRequest):
    code, status = "bad_npy", 400


class BadContentType(BadRequest):
    code, status = "bad_content_type", 400


class TooLarge(BadRequest):
    code, status = "too_large", 413


class UnknownSymbol(BadRequest):
    code = "unknown_symbol"


class BadShape(BadRequest):
    code = "bad_shape"


class MissingColumns(BadRequest):
    code = "missing_columns"


class UnknownColumns(BadRequest):
    code = "unknown_columns"


class NotFinite(BadRequest):
    code = "not_finite"


class BadCandles(BadRequest):
    code = "bad_candles"


class BadWeights(BadRequest):
    code = "bad_weights"


class BadVariant(BadRequest):
    code = "bad_variant"


class FeaturesOffScale(BadRequest):
    code = "features_off_scale"


class ExtraField(BadRequest):
    code = "extra_field"


class MissingField(BadRequest):
    code = "missing_field"


class BadField(BadRequest):
    code = "bad_field"


class ServiceFault(RequestError):
    """The service's own fault: the caller may ask again later."""

    status = 503


class ModelOutputNotFinite(ServiceFault):
    code = "model_output_not_finite"


class NoHealthyArm(ServiceFault):
    code = "no_healthy_arm"


class NotReady(ServiceFault):
    code = "not_ready"


class OperatorError(SignalserveError):
    """Something on this machine must be mended before the service or a command can go on."""


class BundleError(OperatorError):
    """A bundle is missing, corrupt, or not one that this version can serve."""


class CheckpointError(OperatorError):
    """A checkpoint cannot be read, or is none that is known."""


class ConfigError(OperatorError):
    """`serving.yaml`, an environment variable or a command-line value is wrong."""


class EngineError(OperatorError):
    """The engine or device that was asked for is not available here."""


class DataError(OperatorError):
    """A file of candles or features cannot be used as it is."""


class JournalError(OperatorError):
    """The journal cannot be read or written as it is."""


class PortTaken(OperatorError):
    """Another process already listens where the service should."""


def request_error_codes() -> tuple[str, ...]:
    """Every code a request can be answered with, for counters that must exist at 0."""

    def leaves(cls: type[RequestError]) -> list[str]:
        children = cls.__subclasses__()
        return [code for child in children for code in leaves(child)] if children else [cls.code]

    return tuple(sorted(leaves(RequestError)))
