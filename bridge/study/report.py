"""Report: a study's summary as Markdown, a Parquet table, figures, and candidate cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit

from bridge.data import write_bytes, write_table
from bridge.report import text
from bridge.study.cell import spell
from bridge.study.figures import figures, who
from bridge.study.spec import Study
from bridge.study.summary import Summary, wilson

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
            "Each can become a case: `lmmbridge generate --from FILE --name ID`.",
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
    return f"{record[name]:.4f} ± {record[f'{name}_mcse']:.4f}"


def failing(summary: Summary) -> list[dict[str, Any]]:
    """Verdicts of each engine, all designs together, and its silent failures with Wilson's interval."""
    counts: dict[str, Counter[str]] = {}
    silent: Counter[str] = Counter()
    for (place, engine, method, profile, estimand), tally in summary.tallies.items():
        if tally.verdicts and estimand == next(iter(summary.cells[place].truths)):
            name = who(engine, method, profile)
            counts.setdefault(name, Counter()).update(tally.verdicts)
            silent[name] += tally.silent
    found = []
    for name, verdicts in counts.items():
        n = sum(verdicts.values())
        low, high = wilson(silent[name], n)
        found.append(
            {
                "who": name,
                "n": n,
                "silent": silent[name] / n,
                "low": low,
                "high": high,
                "verdicts": dict(verdicts),
            }
        )
    return found


def _agreement(summary: Summary, rows: Sequence[dict[str, Any]]) -> list[str]:
    kinds = sorted({verdict for row in rows for verdict in row["verdicts"]})
    out = ["| engine | fits | " + " | ".join(kinds) + " | silent failures | 95 % interval |"]
    out.append("|" + "---|" * (len(kinds) + 4))
    for row in rows:
        shares = " | ".join(f"{row['verdicts'].get(kind, 0) / row['n']:.4f}" for kind in kinds)
        tail = f"{row['silent']:.4f} | {row['low']:.4f} to {row['high']:.4f}"
        out.append(f"| {row['who']} | {row['n']} | {shares} | {tail} |")
    return out


def _candidates(summary: Summary, path: Path) -> list[str]:
    """Write the worst replicates' designs as TOML; a line about each."""
    lines = []
    for engine, heap in sorted(summary.worst.items()):
        for _, place, replicate, verdict, reason, method, profile in sorted(heap, reverse=True):
            cell = summary.cells[place]
            (seed,) = cell.seeds(replicate, replicate + 1)
            file = path / "worst" / f"{engine.replace(':', '-')}-{method}-{profile}-{place}-{replicate}.toml"
            file.parent.mkdir(exist_ok=True)
            document = tomlkit.dumps({"generate": cell.again(seed).to_table()})
            write_bytes(f"# {cell.formula}\n# {engine}, {method}: {verdict}\n{document}".encode(), file)
            lines.append(f"- `worst/{file.name}`: {engine} {verdict}: {reason}")
    return lines
