"""All that reads or writes a config: settings, the words behind the colon, recipes, and the parts they name."""
