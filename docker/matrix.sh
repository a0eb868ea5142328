#!/bin/sh
# The catalogue and the tests under generations of R, each in a Debian of its own:
#   docker/matrix.sh [SUITE...]        bookworm (R 4.2), trixie (R 4.5) and sid (the newest), if none is named
# As root; needs mmdebstrap. WORK=folder keeps the roots for the next time. Every suite's R fits are recorded in
# cases/, their report is in reports/SUITE, what differs between two suites in reports/drift-A-B.html, and
# between all in reports/generations.md. TESTS= leaves the tests out, TESTS='-m "not slow"' chooses.
# A failure under sid is told, and fails nothing.
set -eu
umask 022
cd "$(dirname "$0")/.."
me=matrix
. docker/host.sh
needs mmdebstrap python3 unshare
tests=${TESTS--n 2}

if [ -n "${WORK:-}" ]; then
    mkdir -p "$WORK" && work=$(cd "$WORK" && pwd)
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
trap 'exit 130' INT TERM
pip_settings "$work"

# $1: root, the rest: a command in its /opt/lmmbridge.
inside() {
    root=$1
    shift
    # shellcheck disable=SC2016
    unshare -m -p -f --kill-child sh -c '
        root=$1; shift
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && mount -t tmpfs tmpfs "$root/dev/shm" &&
        exec chroot "$root" /usr/bin/env -i PATH=/opt/venv/bin:/usr/bin:/bin:/usr/sbin HOME=/root LANG=C.UTF-8 \
            OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 RPY2_CFFI_MODE=ABI \
            sh -c "cd /opt/lmmbridge && exec \"\$@\"" sh "$@"' sh "$root" "$@"
}

suites="bookworm trixie sid" # oldest first
engines=lme4,lmerTest,pbkrtest,nlme,glmmTMB,lm
packages=$(sed -n 's/^tools="\(.*\)"/\1/p; s/^engines="\(.*\)"/\1/p' docker/install-system.sh | tr '\n ' ',,' | sed 's/,$//')
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $suites
failed=
for suite in "$@"; do
    begin=$(date +%s)
    root=$work/$suite
    bootstrap "$suite" "$root.tar" --include="$packages"
    [ -e "$root/whole" ] || {
        rm -rf "$root" && mkdir "$root" && tar -xf "$root.tar" -C "$root" && touch "$root/whole"
    }
    cp /etc/resolv.conf "$root/etc/"
    cp "$work/pip.conf" "$root/etc/"
    [ ! -f "$work/ca.crt" ] || cp "$work/ca.crt" "$root/run/host-ca.crt"
    mkdir -p "$root/opt/lmmbridge"
    find "$root/opt/lmmbridge" -mindepth 1 -maxdepth 1 ! -name .lmmbridge -exec rm -rf {} +
    tar -c --exclude='./.venv*' --exclude=./.git --exclude=./.lmmbridge --exclude=./reports . | tar -x -C "$root/opt/lmmbridge"
    key=$(cksum <pyproject.toml)
    [ "$key" = "$(cat "$root/opt/venv/key" 2>/dev/null)" ] || {
        inside "$root" python3 -m venv --clear /opt/venv
        inside "$root" pip install --quiet --no-cache-dir --editable ".[r,test,report]"
        echo "$key" >"$root/opt/venv/key"
    }
    echo "$me: $suite: $(inside "$root" Rscript -e 'cat("R", as.character(getRversion())); for (p in c("lme4", "nlme", "glmmTMB"))
        cat(",", p, as.character(packageVersion(p)))'), $(inside "$root" python3 -V), ready in $(($(date +%s) - begin)) s"

    wrong=
    inside "$root" lmmbridge record >/dev/null || wrong="record"
    (cd "$root/opt/lmmbridge" && find cases -name recorded.parquet | tar -c -T -) | tar -x
    inside "$root" lmmbridge run --engines "$engines" --profile both --report "reports/$suite" || wrong="$wrong run"
    mkdir -p "reports/$suite"
    cp -r "$root/opt/lmmbridge/reports/$suite/." "reports/$suite/" || echo "$me: $suite: no report" >&2
    [ -z "$tests" ] || eval "inside \"\$root\" pytest $tests --lmm-require $engines" || wrong="$wrong tests"
    echo "$me: $suite: ${wrong:-all} ${wrong:+not }as expected, $(($(date +%s) - begin)) s"
    [ -z "$wrong" ] || [ "$suite" = sid ] || failed="$failed $suite"
done

# By the last suite's lmmbridge, over all suites that have a report here, be it of another day.
there=
for suite in $suites; do
    [ -f "reports/$suite/report.json" ] || continue
    mkdir -p "$root/opt/lmmbridge/reports/$suite"
    cp "reports/$suite/report.json" "reports/$suite/results.parquet" "$root/opt/lmmbridge/reports/$suite/"
    for older in $there; do
        page=reports/drift-${older#reports/}-$suite.html
        inside "$root" lmmbridge diff "$older" "reports/$suite" -o "$page" --exit-zero | tail -n 2
        cp "$root/opt/lmmbridge/$page" reports/
    done
    there="$there reports/$suite"
done
# shellcheck disable=SC2086
inside "$root" python docker/generations.py $there >reports/generations.md
[ -z "$failed" ] || die "not as expected under$failed"
