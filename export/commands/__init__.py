"""The subcommands of offline work: options, progress and reports. What they do stands in the modules outside."""
