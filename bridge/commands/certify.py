"""``lmmbridge certify``: the optimum of each case proven, or proven again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands import common

if TYPE_CHECKING:
    from bridge.certification import Finding


@common.ending
def certify(
    cases: common.Ids = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; prove again what is there, and name what fails.")
    ] = False,
) -> int:
    """Prove the optimum of each case and write it to certified.parquet in the case's folder.

    A line a certificate: case, method, status, proof, digits that every number has, seconds. Exits with 1
    if one contradicts what its case.toml expects, or does not hold under --check.

    - `lmmbridge certify my-trial`

    - `lmmbridge certify --check`
    """
    from bridge.certification import make, review
    from bridge.report.terminal import console

    found, left = common.select(cases or [])
    out, err = console(), console(stderr=True)
    wide = max(len(case.id) for case in found)
    findings: list[Finding] = []
    for number, case in enumerate(found, 1):
        status = f"{number} of {len(found)}: {case.id}"
        for finding in _watched(review(case) if check else make(case), status, err.is_terminal):
            findings.append(finding)
            out.print(_line(finding, wide), markup=False, soft_wrap=True)
    failed = [f for f in findings if f.fault]
    done = "hold" if check else "made"
    text = f"{len(findings)} certificates: " + (f"{len(failed)} do not hold" if failed else f"all {done}")
    out.print(text, markup=False, soft_wrap=True)
    common.omitted(left)
    return int(bool(failed))


def _watched(findings: Iterator[Finding], status: str, terminal: bool) -> Iterator[Finding]:
    """The same, with a status line on stderr of a terminal while each is worked at."""
    if not terminal:
        yield from findings
        return
    from rich.text import Text

    from bridge.report.terminal import console

    while True:
        with console(stderr=True).status(Text(status)):
            finding = next(findings, None)
        if finding is None:
            return
        yield finding


def _line(finding: Finding, wide: int) -> str:
    """``✓ sleepstudy  REML  ok  local (searched)  30 digits  0.12 s``, and what does not hold."""
    from bridge.certification import digits
    from bridge.report.text import AGREES, FAILS, clean

    made = finding.certificate
    said = ("none", "none", 0) if made is None else (made.status, made.proof, digits(made))
    columns = (
        f"{finding.case:<{wide}}  {finding.method:<4}  {said[0]:<12}  {said[1]:<16}  {said[2]:>2} digits"
    )
    why = made.why if made is not None and not made.proven else ""
    tail = finding.fault or why
    line = f"{FAILS if finding.fault else AGREES} {columns}  {finding.seconds:6.2f} s"
    return line + (f"  {clean(tail)}" if tail else "")
