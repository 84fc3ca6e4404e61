"""Which models a change is for, and whether the service will take it: its own checks, before anything is written."""

from pathlib import Path

from signalserve.bundle import Bundle, find_bundles, load_bundle, newest_bundles
from signalserve.errors import BundleError
from signalserve.models import check_gates, check_settings
from signalserve.settings import Settings
from signalserve.toggles.exposure import EVERY_OTHER


def check_served(settings: Settings, store: Path) -> str | None:
    """Whether the models in a model store can do what the settings say.

    Returns None where they can; in words why nobody could look: that must not keep an operator from the toggles.
    Raises ConfigError where the service would refuse the settings, BundleError where a pinned version is not there.
    """
    if not _has_bundles(store):
        return f"not checked against the models: no bundles under {store}; name the folder with --model-store"
    paths = newest_bundles(store / "bundles", settings.bundles)
    try:
        bundles = [load_bundle(path) for path in paths]
    except BundleError as error:
        return f"not checked against the models: {error}"
    check_gates(bundles, settings)
    check_settings(settings, _generations(bundles))
    return None


def served_symbols(store: Path, *settings: Settings) -> list[str]:
    """Every symbol that answers; where no store tells, those that the settings name, and EVERY_OTHER."""
    if _has_bundles(store):
        return sorted({path.parts[-2] for path in find_bundles(store / "bundles")})
    return [*sorted({symbol for one in settings for symbol in one.symbols}), EVERY_OTHER]


def _has_bundles(store: Path) -> bool:
    return next(find_bundles(store / "bundles"), None) is not None


def _generations(bundles: list[Bundle]) -> dict[str, list[str]]:
    by_symbol: dict[str, list[str]] = {}
    for bundle in bundles:
        by_symbol.setdefault(bundle.manifest.symbol, []).append(bundle.manifest.generation)
    return by_symbol
