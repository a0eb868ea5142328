"""One tree of errors, named by the stage that raises them.

Every message names the file (or argument), the field, the value and the fix, on one line;
the command line prints it and exits with 2.
"""


class BridgeError(Exception):
    """Anything that a user can mend. Never shown as a traceback."""


class DataError(BridgeError):
    """A data file or table cannot be used as it is."""


class CaseError(BridgeError):
    """A case folder is not valid."""


class FormulaError(BridgeError):
    """A formula is outside the grammar, or names something that the data do not have."""


class ModelError(BridgeError):
    """A model that the data cannot identify, or that no engine here can express."""


class StoreError(BridgeError):
    """Results cannot be written or read (disk full, read-only folder, foreign file)."""


class UnavailableError(BridgeError):
    """An engine that this machine does not have; the message says why and how to get it."""
