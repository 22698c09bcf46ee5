"""The text files of a bundle: install.sh and README.md."""

INSTALL = """#!/bin/sh
# Installs the harness from this folder without network: sh install.sh [OPTIONS OF pip install]
# The variable PYTHON gives another interpreter than python3.
set -eu
here=$(dirname "$0")
python=${{PYTHON:-python3}}
"$python" -c 'import sys; here = "%d.%d" % sys.version_info[:2]
if here != "{python}": sys.exit("this bundle is for Python {python}, and this is Python " + here)'
(cd "$here" && sha256sum --quiet --check SHA256SUMS)
"$python" -m pip install --no-index --no-deps --force-reinstall "$@" "$here/{harness}"
"$python" -m pip install --no-index --find-links "$here" "$@" {wanted}
{ffcv}"$python" -m harness doctor
"""

# FFCV's own metadata lists more than it uses
INSTALL_FFCV = """\
"$python" -m pip install --no-index --no-deps --force-reinstall "$@" "$here/{wheel}"
"""

README = """# The AlexNet harness {version} for a machine without network

Made for Python {python} on Linux {machine} with glibc 2.{glibc} or newer (`ldd --version` prints it), and for a
machine that has {left_out}. pip refuses other versions that do not fit.

In a virtual environment that sees the machine's torch:

    python3 -m venv --system-site-packages ~/alexnet && . ~/alexnet/bin/activate
    sh install.sh

Or without one: `sh install.sh --user`. install.sh checks the files, calls pip with `--no-index`, and ends
with `python3 -m harness doctor`. Then this trains a tiny network on synthetic images; data sets are not in
the bundle:

    python3 -m harness run --variant grouped_2gpu --data synthetic --set epochs=1

{ffcv}
| package | version | MB |
| --- | --- | ---: |
{rows}
"""

README_FFCV = """\
FFCV was built from its sdist with Debian's OpenCV, libturbojpeg and libtbb, which are in its wheel, with
their licences in `ffcv/licences`.
"""

README_NO_FFCV = """\
Without FFCV, runs use the folder loader (torch and PIL), which is slower.
"""
