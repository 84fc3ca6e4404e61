import argparse
import sys
from importlib.metadata import entry_points

from signalserve.errors import OperatorError


def main(argv=None):
    p = argparse.ArgumentParser(prog="signalserve")
    sp = p.add_subparsers(required=True)
    for e in entry_points(group="signalserve.commands"):
        try:
            e.load().add_parser(sp)
        except (ImportError, AttributeError):
            pass
    a = p.parse_args(argv)
    try:
        return a.run(a)
    except OperatorError as e:
        print(f"signalserve: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
