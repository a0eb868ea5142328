"""The pytest plug-in: an item per case, method, engine and profile, from case.toml files alone.

Nothing heavy is imported until a case.toml of ours is collected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bridge.case import Case
    from bridge.court import Court
    from bridge.fit import Method, Profile
    from bridge.verdict import Judgement

COURT: pytest.StashKey[Court] = pytest.StashKey()
PEERS: pytest.StashKey[Mapping[tuple[Path, Method], list[CaseItem]]] = pytest.StashKey()
"""Items of a run by case and method: found once, as there are thousands."""
ONLY_CONFORMANCE: pytest.StashKey[Path] = pytest.StashKey()
"""Folder of the bundled cases, if nobody but --lmm-conformance asked for it."""
KNOWN = "lmm_known"
RECORDED = "lmm_recorded"
MARK = "lmm_conformance"


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
    group.addoption(
        "--lmm-conformance",
        metavar="A,B",
        help="engines to hold to the bundled cases, such as my_package.engine:MyEngine; known differences "
        f"are no excuse (alone: -m {MARK})",
    )
    group.addoption("--lmm-require", metavar="A,B", default="", help="engines whose absence is a failure")
    group.addoption(
        "--lmm-store", metavar="DIR", help="folder of finished fits (default: .lmmbridge in the rootdir)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse unknown engines at once; add the bundled cases to what is collected, if they are asked for."""
    config.addinivalue_line("markers", f"{MARK}: a bundled case through an engine of --lmm-conformance")
    config.addinivalue_line("markers", "slow: also a case with this tag; -m 'not slow' leaves it out")
    conforming = _names(config, "lmm_conformance")
    named = [*_names(config, "lmm_engines"), *_names(config, "lmm_require"), *conforming]
    if not named:
        return
    from bridge.engines import check
    from bridge.errors import BridgeError

    try:
        for name in named:
            check(name)
    except BridgeError as error:
        raise pytest.UsageError(str(error)) from None
    if conforming:
        _add_bundled(config)


def _add_bundled(config: pytest.Config) -> None:
    from bridge.resources import find

    bundled = find("cases")
    given = [config.invocation_params.dir / arg.partition("::")[0] for arg in config.args]
    if str(bundled) in config.args and hasattr(config, "workerinput"):  # xdist: the first process added it
        config.stash[ONLY_CONFORMANCE] = bundled
    elif not any(bundled.is_relative_to(place.resolve()) for place in given):
        config.args.append(str(bundled))
        config.stash[ONLY_CONFORMANCE] = bundled


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
    """A known difference and a recorded fit pass, and say so with ``-v``."""
    said = dict(getattr(report, "user_properties", ()))
    known, recorded = said.get(KNOWN), said.get(RECORDED)
    if not (known or recorded) or report.when != "call" or not report.passed:
        return None
    words = [f"KNOWN {known}"] if known else ["PASSED"]
    words += [f"(recorded, {recorded})"] if recorded else []
    return "passed", "k" if known else "r", (" ".join(words), {"yellow": True})


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was not fitted here, in one line: dots and counts would not say so."""
    found: dict[str, int] = {}
    for report in terminalreporter.stats.get("passed", []):
        recorded = dict(getattr(report, "user_properties", ())).get(RECORDED)
        if recorded and report.when == "call":
            found[recorded] = found.get(recorded, 0) + 1
    if found:
        said = ", ".join(f"{count} of {software}" for software, count in found.items())
        terminalreporter.write_line(f"lmmbridge: recorded fits, not made here: {said}", yellow=True)


class CaseFile(pytest.File):
    """A case.toml."""

    def collect(self) -> Iterator[pytest.Item]:
        """An item per method, engine and profile."""
        from bridge.case import Case
        from bridge.engines import names
        from bridge.errors import BridgeError
        from bridge.resources import find

        try:
            case = Case.load(self.path.parent)
            conforming = _names(self.config, "lmm_conformance")
            if conforming and self.path.resolve().is_relative_to(find("cases")):
                yield from self._items(ConformanceItem, case, conforming)
        except BridgeError as error:
            raise self.CollectError(str(error)) from None
        only = self.config.stash.get(ONLY_CONFORMANCE, None)
        if only is None or not self.path.resolve().is_relative_to(only):
            engines = [*(_names(self.config, "lmm_engines") or names()), *_names(self.config, "lmm_require")]
            yield from self._items(CaseItem, case, engines)

    def _items(self, kind: type[CaseItem], case: Case, engines: list[str]) -> Iterator[pytest.Item]:
        asked = self.config.getoption("lmm_profile")
        profiles: tuple[Profile, ...] = ("default", "tight") if asked == "both" else (asked,)
        for method in case.spec.methods:
            for engine in dict.fromkeys(engines):
                for profile in profiles:
                    suffix = "" if profile == "default" else f"-{profile}"
                    name = f"{kind.prefix}{case.id}-{method}[{engine}{suffix}]"
                    item: pytest.Item = kind.from_parent(
                        self, name=name, case=case, method=method, engine=engine, profile=profile
                    )
                    if "slow" in case.spec.tags:
                        item.add_marker("slow")
                    yield item


class CaseItem(pytest.Item):
    """One fit of one case."""

    prefix = ""

    def __init__(
        self, *, case: Case, method: Method, engine: str, profile: Profile, **inherited: Any
    ) -> None:
        super().__init__(**inherited)
        self.case, self.method, self.engine, self.profile = case, method, engine, profile

    def runtest(self) -> None:
        """Judge it, with all the items of its case and method at once."""
        peers = self._peers()
        court = self._court()
        judged = court.judge(
            self.case,
            self.method,
            list(dict.fromkeys(i.engine for i in peers)),
            list(dict.fromkeys(i.profile for i in peers)),
        )
        self.decide(judged[self.engine, self.profile], list(judged.values()))

    def decide(self, mine: Judgement, judged: list[Judgement]) -> None:
        """Pass, skip or fail, by what the case expects."""
        from bridge.court import failure
        from bridge.verdict import Verdict

        required = self.engine in _names(self.config, "lmm_require")
        if mine.verdict is Verdict.UNAVAILABLE and required:
            raise Disagreement(f"{mine.name}: required, but not available: {mine.reason}")
        if mine.fit.recorded is not None:
            self.user_properties.append((RECORDED, mine.fit.recorded.software))
            if required:
                raise Disagreement(
                    f"{mine.name}: required, but not available: {mine.fit.recorded.why}; "
                    f"its fit is {mine.fit.recorded}, which is no engine"
                )
        if mine.verdict.neutral:
            pytest.skip(mine.reason)
        if not mine.expected:
            raise Disagreement(failure(mine, judged, self.path))
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

    def _peers(self) -> list[CaseItem]:
        """The items of its case and method that were chosen, itself among them."""
        if PEERS not in self.config.stash:
            found: defaultdict[tuple[Path, Method], list[CaseItem]] = defaultdict(list)
            for item in self.session.items:
                if isinstance(item, CaseItem):
                    found[item.case.folder, item.method].append(item)
            self.config.stash[PEERS] = found
        return self.config.stash[PEERS].get((self.case.folder, self.method)) or [self]

    def _court(self) -> Court:
        from bridge.court import Court

        if COURT not in self.config.stash:
            self.config.stash[COURT] = Court(self.config.getoption("lmm_store"), self.config.rootpath)
        return self.config.stash[COURT]


class ConformanceItem(CaseItem):
    """One fit of one bundled case by an engine that is held to the truth alone."""

    prefix = "conformance-"

    def __init__(self, **inherited: Any) -> None:
        super().__init__(**inherited)
        self.add_marker(MARK)

    def decide(self, mine: Judgement, judged: list[Judgement]) -> None:
        """As `lmmbridge conformance` counts it."""
        from bridge.conformance import Outcome, outcome
        from bridge.court import failure

        found = outcome(mine)
        if mine.fit.recorded is not None:
            raise Disagreement(f"{mine.name}: not available: {mine.fit.recorded.why}")
        if found is Outcome.UNSUPPORTED:
            pytest.skip(mine.reason)
        if found is Outcome.UNAVAILABLE:
            raise Disagreement(f"{mine.name}: not available: {mine.reason}")
        if found not in (Outcome.AGREE, Outcome.RIGHTLY):
            raise Disagreement(failure(mine, judged))


def _names(config: pytest.Config, option: str) -> list[str]:
    return [part.strip() for part in (config.getoption(option) or "").split(",") if part.strip()]
