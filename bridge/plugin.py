"""The pytest plug-in: collects case.toml files."""
