"""The subcommands of `melexp`, one module each."""
