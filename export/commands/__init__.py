"""The subcommands of offline work: options, progress and reports; what they do stands in the modules beside this folder."""
