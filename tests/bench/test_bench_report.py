"""A report on 1,000 records: below 30 s and 1 GB of memory, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RECORDS, LIMIT_S, LIMIT_MIB = 1000, 30.0, 1024.0

MAKE = """
import sys
from pathlib import Path
from study_records import Study
from variants.catalog import CATALOG
study = Study(Path(sys.argv[1]))
names = [name for name, row in CATALOG.items() if "mini" in row.geometries and row.spec.box is None][:20]
for seed in range(int(sys.argv[2]) // len(names)):
    for place, name in enumerate(names):
        study.run(study.spec(name, seed), 0.15 + 0.003 * place)
"""
REPORT = """
import os, sys
from pathlib import Path
from harness.probes.host import peak_rss_mib
from harness.records.store import Store
from harness.report.build import build
from harness.report.render import write_report
own = Store(Path(sys.argv[1])).verified()
assert own.refused == ()
model = build("reproduce", own.records)
write_report(model, Path(sys.argv[2]))
print(len(model.sources), peak_rss_mib(os.getpid()))
"""


def _python(code: str, *words: str) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "report")])}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=env, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_report_on_1000_records_takes_less_than_30_s_and_1_gb(tmp_path: Path, benchmark: Any):
    if benchmark.disabled:
        pytest.skip("a benchmark: nox -s bench")
    _python(MAKE, str(tmp_path / "results"), str(RECORDS))
    folders = (str(tmp_path / "results"), str(tmp_path / "report"))
    begun_s = time.perf_counter()
    records, peak_mib = benchmark.pedantic(lambda: _python(REPORT, *folders), rounds=1).split()
    took_s = time.perf_counter() - begun_s
    print(f"{records} records: {took_s:.1f} s, {float(peak_mib):.0f} MiB")
    assert int(records) == RECORDS
    assert took_s < LIMIT_S
    assert float(peak_mib) < LIMIT_MIB
