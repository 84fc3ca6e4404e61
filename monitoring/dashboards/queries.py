"""PromQL for panels: every selector follows the dashboard's variables."""

from typing import Final

_SERVICE: Final = ('job=~"$job"', 'instance=~"$instance"')


def series(metric: str, *matchers: str) -> str:
    """A selector of the chosen services' series. matchers: as in PromQL.

    >>> series("signalserve_ready", SYMBOL)
    'signalserve_ready{job=~"$job",instance=~"$instance",symbol=~"$symbol"}'
    """
    return f"{metric}{{{','.join((*_SERVICE, *matchers))}}}"


SYMBOL: Final = 'symbol=~"$symbol"'
ARM: Final = 'arm=~"$arm"'
STREAM: Final = (SYMBOL, ARM)
LONGEST: Final = 'window="1440"'


def statistic(name: str) -> str:
    return f'statistic="{name}"'


def rate(metric: str, *matchers: str) -> str:
    """How often a counter's events come, a second."""
    return f"rate({series(metric, *matchers)}[$__rate_interval])"


def count(metric: str, *matchers: str) -> str:
    """How many of a counter's events came within each interval of the plot."""
    return f"increase({series(metric, *matchers)}[$__rate_interval])"


def known(expression: str) -> str:
    """Without the series that are NaN, of which one would make a whole sum NaN. expression: of values from 0 on."""
    return f"({expression}) >= 0"
