"""Batch: many responses of one design fitted together, by the numpy engine's method on arrays of replicates.

Replicates share X and Z, so that all a fit needs of its data are a few sums. Their arrays have the
replicate as last axis, and one pass of numpy moves all of them by one Newton step. One grouping factor.
"""

from bridge.batch.fit import LANE, Fits, fit
from bridge.batch.plan import Plan

__all__ = ["LANE", "Fits", "Plan", "fit"]
