"""Certification: a case's certificates made, or proven again, one method at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from time import perf_counter
from typing import TYPE_CHECKING

from bridge.case import CERTIFIED, Case
from bridge.certificate import DIGITS, Certificate, read, write
from bridge.errors import ModelError
from bridge.fit import Method

if TYPE_CHECKING:
    from bridge.model import Model

ILL_POSED = ("unidentified", "refused")


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one certificate.

    Attributes
    ----------
    case : str
    method : {"REML", "ML"}
    certificate : Certificate or None
        None if there is none to check.
    fault : str
        What does not hold; empty if all does.
    seconds : float
    """

    case: str
    method: Method
    certificate: Certificate | None
    fault: str
    seconds: float


def make(case: Case) -> Iterator[Finding]:
    """Certify each method, then write certified.parquet; a file of anything else there is left alone.

    Raises
    ------
    DataError, CaseError, FormulaError, ModelError
        The case cannot be used as it is.
    StoreError
        The folder cannot be written, or holds a certified.parquet that is no certificate.
    """
    path = case.folder / CERTIFIED
    if path.exists():
        read(path)
    model, why = _model(case)
    made = []
    for method in case.spec.methods:
        begin = perf_counter()
        certificate = _certify(case, method, model, why)
        made.append(certificate)
        yield Finding(case.id, method, certificate, against(case, certificate), perf_counter() - begin)
    write(path, made)


def review(case: Case) -> Iterator[Finding]:
    """Prove again what certified.parquet says, from the data.

    Raises
    ------
    DataError, CaseError, FormulaError, ModelError, StoreError
    """
    path = case.folder / CERTIFIED
    kept: Mapping[Method, Certificate] = {c.method: c for c in read(path)} if path.exists() else {}
    model, why = _model(case)
    for method in case.spec.methods:
        begin = perf_counter()
        certificate = kept.get(method)
        fault = _fault(case, method, certificate, model, why)
        yield Finding(case.id, method, certificate, fault, perf_counter() - begin)


def against(case: Case, certificate: Certificate) -> str:
    """How a certificate contradicts what case.toml expects; empty if it does not."""
    expected, found = case.expect(certificate.method), certificate.status
    if found not in ("ok", "singular", "unidentified") or expected == "refused":
        return ""
    return "" if expected == found else f"expect: case.toml says {expected}, the data are {found}"


def digits(certificate: Certificate) -> int:
    """Significant digits that every number has, of those that are not zero; 0 without numbers."""
    least = [
        Decimal(n.value).adjusted() - Decimal(n.radius).adjusted()
        for n in (row.number for row in certificate.rows)
        if n.value not in ("0", "nan") and Decimal(n.radius)
    ]
    return min([DIGITS, *least]) if certificate.rows else 0


def _model(case: Case) -> tuple[Model | None, str]:
    """The case's model; or None and why, if it is expected that there can be none."""
    try:
        return case.model(), ""
    except ModelError as error:
        if any(case.expect(method) not in ILL_POSED for method in case.spec.methods):
            raise
        return None, str(error)


def _certify(case: Case, method: Method, model: Model | None, why: str) -> Certificate:
    from bridge.certify import certify

    if model is None:
        spec = case.spec
        return Certificate(
            method,
            "unidentified",
            why,
            formula=spec.formula,
            weights=spec.weights,
            offset=spec.offset,
            data_hash=case.data_hash,
        )
    return certify(model, method, case.data_hash)


def _fault(case: Case, method: Method, certificate: Certificate | None, model: Model | None, why: str) -> str:
    from bridge.certify import check

    if certificate is None:
        return f"missing; lmmbridge certify {case.id}"
    if model is not None:
        fault = check(certificate, model, case.data_hash)
    elif certificate.status != "unidentified":
        fault = f"status: {certificate.status}, but {why}"
    else:
        other = certificate.data_hash != case.data_hash
        fault = "data: not those of the certificate; certify again" if other else None
    return fault or against(case, certificate)
