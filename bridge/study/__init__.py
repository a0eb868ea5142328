"""Study: the same designs thousands of times: bias, precision, coverage, and who agrees."""
