"""Report: a study's summary as Markdown, a Parquet table, figures, and candidate cases."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit

from bridge.data import write as write_frame
from bridge.data import write_table
from bridge.output import write_bytes
from bridge.report import text
from bridge.study.cell import spell
from bridge.study.figures import figures, who
from bridge.study.spec import Study
from bridge.study.summary import Summary, wilson
from bridge.verdict import Verdict

COVERAGES = {"wald_z": "z", "t": "t", "satterthwaite": "Satterthwaite", "kenward_roger": "Kenward-Roger"}


def write(study: Study, summary: Summary, path: Path, audited: Sequence[str] = ()) -> Path:
    """summary.parquet, report.md, figures and candidate cases; the report's path. StoreError."""
    import pyarrow as pa

    from bridge.report import pictures

    records = summary.records()
    names = list(dict.fromkeys(name for record in records for name in record))
    write_table(
        pa.table({name: [record.get(name) for record in records] for name in names}), path / "summary.parquet"
    )
    drawn: list[str] = []
    if not pictures.lacking():
        for name, chart in figures(summary).items():
            write_bytes(pictures.svg(chart).encode(), path / f"{name}.svg")
            write_bytes(pictures.png(chart), path / f"{name}.png")
            drawn.append(name)
    candidates = _candidates(summary, path)
    write_bytes(page(study, summary, drawn, candidates, audited).encode(), path / "report.md")
    return path / "report.md"


def page(
    study: Study, summary: Summary, drawn: Sequence[str], candidates: Sequence[str], audited: Sequence[str]
) -> str:
    """The report's text."""
    done = min((t.replicates for t in summary.tallies.values()), default=0)
    lines = [f"# {text.markdown(study.title or 'Study')}", ""]
    lines += [
        f"{len(summary.cells)} designs, {done} of {study.replicates} replicates of each, seed {study.seed}. "
        "± is the Monte Carlo standard error (Morris, White & Crowther 2019, doi 10.1002/sim.8086).",
        "",
        "Empirical SE: sd of the estimates. Model SE: root of the mean squared standard error. Coverage: of "
        "95 % intervals; t has inner-outer df, lm's n − p; where a variance is zero Satterthwaite's df "
        "take it as known.",
        "",
    ]
    lines += ["## Performance", "", *_performance(summary)]
    if rows := failing(summary):
        lines += ["", "## Agreement", "", *_agreement(summary, rows)]
    lines += ["", "## Audit", "", *[f"- {line}" for line in audited]] if audited else []
    if candidates:
        lines += [
            "",
            "## Worst replicates",
            "",
            "Data sets as they were drawn. Each becomes a case by its command, typed in this folder; the "
            "TOML of that name has the design and seed it was drawn from (`lmmbridge generate --from`).",
            "",
        ]
        lines += candidates
    for name in drawn:
        lines += ["", f"![{name}]({name}.svg)"]
    return "\n".join(lines) + "\n"


def _performance(summary: Summary) -> list[str]:
    records = summary.records()
    kinds = [kind for kind in COVERAGES if any(f"coverage_{kind}" in r for r in records)]
    head = ["design", "who", "estimand", "truth", "bias", "empirical SE", "model SE", "RMSE"]
    head += [f"coverage {COVERAGES[kind]}" for kind in kinds] + ["converged", "singular"]
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in records:
        cells = [
            spell(summary.cells[r["design"]].at),
            who(r["engine"], r["method"], r["profile"]),
            r["estimand"],
        ]
        cells += [f"{r['truth']:.4g}"]
        cells += [_pm(r, name) for name in ("bias", "empirical_se", "model_se", "rmse")]
        cells += [_pm(r, f"coverage_{kind}") for kind in kinds] + [_pm(r, "converged"), _pm(r, "singular")]
        out.append("| " + " | ".join(cells) + " |")
    return out


def _pm(record: dict[str, Any], name: str) -> str:
    if name not in record:
        return "–"
    return _plus_minus(record[name], record[f"{name}_mcse"])


def _plus_minus(value: float, error: float) -> str:
    """To two digits of the error, and four decimals at least."""
    if not (math.isfinite(value) and math.isfinite(error)) or max(abs(value), error) >= 1e5:
        return f"{value:.3g} ± {error:.2g}"
    digits = min(max(4, 1 - math.floor(math.log10(error))), 12) if error > 0 else 4
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def failing(summary: Summary) -> list[dict[str, Any]]:
    """Verdicts of each engine, all designs together; all failures and silent ones, Wilson's intervals."""
    counts: dict[str, Counter[str]] = {}
    silent: Counter[str] = Counter()
    for (place, engine, method, profile, estimand), tally in summary.tallies.items():
        if tally.verdicts and estimand == next(iter(summary.cells[place].truths)):
            name = who(engine, method, profile)
            counts.setdefault(name, Counter()).update(tally.verdicts)
            silent[name] += tally.silent
    found = []
    for name, verdicts in counts.items():
        said = {verdict: k for verdict, k in verdicts.items() if not Verdict(verdict).neutral}
        n = sum(said.values())
        if not n:
            continue
        row: dict[str, Any] = {"who": name, "n": n, "verdicts": said}
        wrong = sum(k for verdict, k in said.items() if not Verdict(verdict).passes)
        for kind, count in (("failed", wrong), ("silent", silent[name])):
            low, high = wilson(count, n)
            row |= {kind: count / n, f"{kind}_low": low, f"{kind}_high": high}
        found.append(row)
    return found


def _agreement(summary: Summary, rows: Sequence[dict[str, Any]]) -> list[str]:
    kinds = sorted({verdict for row in rows for verdict in row["verdicts"]})
    head = ["engine", "fits", *kinds, "failures (95 % interval)", "silent failures (95 % interval)"]
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        n = row["n"]
        shares = [row["verdicts"].get(kind, 0) / n for kind in kinds]
        cells = [_plus_minus(share, math.sqrt(share * (1 - share) / n)) for share in shares]
        cells += [
            f"{row[k]:.4f} ({row[f'{k}_low']:.4f} to {row[f'{k}_high']:.4f})" for k in ("failed", "silent")
        ]
        out.append("| " + " | ".join([row["who"], str(n), *cells]) + " |")
    return [
        *out,
        "",
        "Rates ± Monte Carlo standard error; Wilson's intervals. Silent: wrong without a word of warning.",
    ]


def _candidates(summary: Summary, path: Path) -> list[str]:
    """Write the worst replicates' data, and designs as TOML; a line about each, with what keeps it."""
    lines = []
    for (engine, verdict), heap in sorted(summary.worst.items()):
        for (silent, _), place, replicate, reason, method, profile in sorted(heap, reverse=True):
            cell = summary.cells[place]
            (seed,) = cell.seeds(replicate, replicate + 1)
            name = f"{engine.replace(':', '-')}-{method}-{profile}-{place}-{replicate}"
            file = path / "worst" / f"{name}.toml"
            file.parent.mkdir(exist_ok=True)
            design = cell.again(seed)
            document = tomlkit.dumps({"generate": design.to_table()})
            write_bytes(f"# {cell.formula}\n# {engine}, {method}: {verdict}\n{document}".encode(), file)
            write_frame(design.draw().frame, file.with_suffix(".parquet"))
            command = ["lmmbridge", "add", f"worst/{name}.parquet", cell.formula, "--name", name]
            known = design.known()
            command += [part for role in known for part in (f"--{role}", known[role])]
            lines.append(
                f"- {engine} {verdict}{', silent' * silent}: {text.markdown(reason)}: `{shlex.join(command)}`"
            )
    return lines
