"""The command line: `main.py` finds the subcommands that are installed; each is a module with add_parser and run."""
