"""The pytest plug-in: an item per case, method, engine and profile, from case.toml files alone.

Nothing heavy is imported until a case.toml of ours is collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bridge.case import Case
    from bridge.court import Court
    from bridge.fit import Method, Profile
    from bridge.verdict import Judgement

COURT: pytest.StashKey[Court] = pytest.StashKey()
KNOWN = "lmm_known"


class Disagreement(Exception):
    """An unexpected verdict; its text is the whole failure."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the plug-in."""
    group = parser.getgroup("lmmbridge", "mixed-model cases (case.toml)")
    group.addoption("--lmm-engines", metavar="A,B", help="only these engines, such as lme4,statsmodels")
    group.addoption(
        "--lmm-profile",
        choices=("default", "tight", "both"),
        default="default",
        help="engines as a user gets them, at their most careful, or both",
    )
    group.addoption("--lmm-require", metavar="A,B", default="", help="engines whose absence is a failure")
    group.addoption(
        "--lmm-store", metavar="DIR", help="folder of finished fits (default: .lmmbridge in the rootdir)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse unknown engines at once."""
    named = [*_names(config, "lmm_engines"), *_names(config, "lmm_require")]
    if not named:
        return
    from bridge.engines import check
    from bridge.errors import BridgeError

    try:
        for name in named:
            check(name)
    except BridgeError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A case.toml with our schema; another program's is left alone."""
    if file_path.name != "case.toml":
        return None
    from bridge.case import is_case

    if not is_case(file_path):
        return None
    found: pytest.Collector = CaseFile.from_parent(parent, path=file_path)
    return found


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the workers."""
    court = config.stash.get(COURT, None)
    if court is not None:
        court.close()


def pytest_report_teststatus(report: Any) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """A known difference passes, and says so with ``-v``."""
    known = dict(getattr(report, "user_properties", ())).get(KNOWN)
    if known and report.when == "call" and report.passed:
        return "passed", "k", (f"KNOWN {known}", {"yellow": True})
    return None


class CaseFile(pytest.File):
    """A case.toml."""

    def collect(self) -> Iterator[pytest.Item]:
        """An item per method, engine and profile."""
        from bridge.case import Case
        from bridge.engines import names
        from bridge.errors import BridgeError

        try:
            case = Case.load(self.path.parent)
        except BridgeError as error:
            raise self.CollectError(str(error)) from None
        engines = [*(_names(self.config, "lmm_engines") or names()), *_names(self.config, "lmm_require")]
        asked = self.config.getoption("lmm_profile")
        profiles: tuple[Profile, ...] = ("default", "tight") if asked == "both" else (asked,)
        for method in case.spec.methods:
            for engine in dict.fromkeys(engines):
                for profile in profiles:
                    suffix = "" if profile == "default" else f"-{profile}"
                    name = f"{case.id}-{method}[{engine}{suffix}]"
                    item: pytest.Item = CaseItem.from_parent(
                        self, name=name, case=case, method=method, engine=engine, profile=profile
                    )
                    yield item


class CaseItem(pytest.Item):
    """One fit of one case."""

    def __init__(
        self, *, case: Case, method: Method, engine: str, profile: Profile, **inherited: Any
    ) -> None:
        super().__init__(**inherited)
        self.case, self.method, self.engine, self.profile = case, method, engine, profile

    def runtest(self) -> None:
        """Judge it, with all the items of its case and method at once."""
        from bridge.court import failure
        from bridge.verdict import Verdict

        peers = [
            i for i in self.session.items if isinstance(i, CaseItem) and i.case.folder == self.case.folder
        ]
        peers = [i for i in peers if i.method == self.method] or [self]
        court = self._court()
        judged = court.judge(
            self.case,
            self.method,
            list(dict.fromkeys(i.engine for i in peers)),
            list(dict.fromkeys(i.profile for i in peers)),
        )
        mine: Judgement = judged[self.engine, self.profile]
        if mine.verdict is Verdict.UNAVAILABLE and self.engine in _names(self.config, "lmm_require"):
            raise Disagreement(f"{mine.name}: required, but not available: {mine.reason}")
        if mine.verdict.neutral:
            pytest.skip(mine.reason)
        if not mine.expected:
            raise Disagreement(failure(mine, list(judged.values()), self.path))
        if mine.known is not None:
            self.user_properties.append((KNOWN, str(mine.verdict)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The text alone, for what is not a fault of the program."""
        from bridge.errors import BridgeError

        if isinstance(excinfo.value, Disagreement | BridgeError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it is from."""
        return self.path, None, self.name

    def _court(self) -> Court:
        from bridge.court import Court

        if COURT not in self.config.stash:
            self.config.stash[COURT] = Court(self.config.getoption("lmm_store"), self.config.rootpath)
        return self.config.stash[COURT]


def _names(config: pytest.Config, option: str) -> list[str]:
    return [part.strip() for part in (config.getoption(option) or "").split(",") if part.strip()]
