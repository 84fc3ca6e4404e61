"""What every test of this folder shares: drift limits of few simulated days, where a bundle's take ten seconds."""

from collections.abc import Iterator

import pytest

from signalserve.drift import limits


@pytest.fixture(scope="module", autouse=True)
def _few_simulated_days() -> Iterator[None]:
    """Of a module, so that a module's own fixtures have it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "SIMULATED_DAYS", 2 * limits.WATCHED_DAYS)
        patch.setattr(limits, "DAYS", limits.DAYS[::2])  # each of them is searched for
        yield
