"""One module per command of `rankhouse`; nothing heavy is imported before a command runs."""
