"""signalserve: calibrated trading-signal predictions, and a service that shouts when they stop being so.

Importing this package imports nothing heavy: the bot's client needs neither torch nor the server.
"""

__version__ = "0.1.0"

CLASSES = ("DOWN", "NEUTRAL", "UP")
"""The classes in the one order used everywhere: index 0, 1, 2."""
