"""An example of an engine for lmmbridge."""
