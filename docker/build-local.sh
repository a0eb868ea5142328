#!/bin/sh
# Builds docker/Dockerfile and runs its tests, with no Docker engine and no image registry.
#   docker/build-local.sh [COMMAND...]     COMMAND instead of the tests
# As root; needs buildah and mmdebstrap. WORK=folder keeps the base and the layers for the next time;
# TARGET=engines builds that target instead of core.
set -eu
umask 022
cd "$(dirname "$0")/.."

me=build-local
. docker/host.sh
needs buildah mmdebstrap python3

if [ -n "${WORK:-}" ]; then
    mkdir -p "$WORK" && work=$(cd "$WORK" && pwd)
else
    work=$(mktemp -d)
fi
mkdir -p "$work/tmp"
export TMPDIR="$work/tmp"
B="buildah --root $work/root --runroot $work/run --storage-driver overlay"
c=
finish() {
    [ -z "$c" ] || $B rm "$c" >/dev/null 2>&1 || true
    umount "$work/root/overlay" 2>/dev/null || true
    [ -n "${WORK:-}" ] || rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

if ! $B inspect --type image localhost/debian:trixie-slim >/dev/null 2>&1; then
    bootstrap trixie "$work/base.tar"
    c=$($B from --pull-never scratch)
    $B add -q "$c" "$work/base.tar" / >/dev/null
    $B config --cmd bash "$c"
    $B commit -q --format docker "$c" localhost/debian:trixie-slim >/dev/null
    $B rm "$c" >/dev/null
fi

# There while the image is built; they leave nothing in it.
pip_settings "$work"
mounts="-v $work/pip.conf:/etc/pip.conf:ro"
[ ! -f "$work/ca.crt" ] || mounts="$mounts -v $work/ca.crt:/run/host-ca.crt:ro"

target=${TARGET:-core}
name=localhost/lmmbridge:$target
begin=$(date +%s)
# shellcheck disable=SC2086
$B bud --pull-never --isolation chroot --format docker --layers $mounts --target "$target" -t "$name" \
    -f docker/Dockerfile .
echo "build-local: built in $(($(date +%s) - begin)) s"
$B images --format '{{.Name}}:{{.Tag}} {{.Size}}' "$name"

c=$($B from --pull-never "$name")
echo "build-local: MB of Debian and R's libraries, R and its packages, the Python environment, lmmbridge"
# shellcheck disable=SC2016
$B run --isolation chroot --user root "$c" -- sh -c '
    r=$(du -sm /usr/lib/R | cut -f1) && whole=$(du -sxm /usr /var /etc | cut -f1 | paste -sd+) &&
    echo $(($whole - r)) "$r" $(du -sm /opt/venv /opt/lmmbridge | cut -f1)'
[ $# -gt 0 ] || set -- pytest -n 2 -m "not slow" --lmm-require lme4,lmerTest,pbkrtest,nlme,glmmTMB,lm
$B run --isolation chroot "$c" -- "$@"
