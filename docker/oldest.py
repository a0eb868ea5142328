"""Prints the oldest versions that pyproject.toml allows, as pip's constraints: ``numpy==1.26``."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
groups = [project["dependencies"], *(project["optional-dependencies"][name] for name in sys.argv[1:])]
for requirement in (line for group in groups for line in group):
    if match := re.match(r"([\w.-]+)[^>]*>=([\w.]+)", requirement):
        print(f"{match[1]}=={match[2]}")
