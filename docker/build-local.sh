#!/bin/sh
# Builds docker/Dockerfile and runs its tests, with no Docker engine and no image registry.
#   docker/build-local.sh [COMMAND...]     COMMAND instead of the tests
# As root; needs buildah and mmdebstrap. WORK=folder keeps the base and the layers for the next time;
# TARGET=engines builds that target instead of core.
set -eu
umask 022
cd "$(dirname "$0")/.."

die() {
    echo "build-local: $1" >&2
    exit 1
}
[ "$(id -u)" -eq 0 ] || die "needs root"
for tool in buildah mmdebstrap python3; do
    command -v $tool >/dev/null || die "$tool is missing: apt-get install --no-install-recommends buildah mmdebstrap"
done

if [ -n "${WORK:-}" ]; then
    mkdir -p "$WORK" && work=$(cd "$WORK" && pwd)
else
    work=$(mktemp -d)
fi
mkdir -p "$work/tmp"
export TMPDIR="$work/tmp"
B="buildah --root $work/root --runroot $work/run --storage-driver overlay"
finish() {
    $B rm -a >/dev/null 2>&1 || true
    umount "$work/root/overlay" 2>/dev/null || true
    [ -n "${WORK:-}" ] || rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

if ! $B inspect --type image localhost/debian:trixie-slim >/dev/null 2>&1; then
    [ -s "$work/base.tar" ] || {
        mmdebstrap --quiet --variant=minbase --mode=root --format=tar trixie "$work/base.part"
        mv "$work/base.part" "$work/base.tar"
    }
    c=$($B from --pull-never scratch)
    $B add -q "$c" "$work/base.tar" / >/dev/null
    $B config --cmd bash "$c"
    $B commit -q --format docker "$c" localhost/debian:trixie-slim >/dev/null
    $B rm "$c" >/dev/null
fi

# pip inside asks whom pip here asks, but for folders of this machine; the settings and the host's certificates are
# there while the image is built, and leave nothing in it.
bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
(umask 077 && python3 -m pip config list 2>/dev/null | sed 's/\\n/ /g' | awk -F "='" '
    BEGIN { print "[global]" }
    { sub(/^.*\./, "", $1); sub(/\x27$/, "", $2); n = split($2, words, " "); kept = ""
      for (i = 1; i <= n; i++) if (words[i] !~ /^(file:\/\/)?\//) kept = kept " " words[i] }
    $1 != "cert" && kept != "" && !seen[$1]++ { print $1 " =" kept }' >"$work/pip.conf") || die "cannot read pip's settings"
mounts="-v $work/pip.conf:/etc/pip.conf:ro"
if [ -f "$bundle" ]; then
    echo "cert = /run/host-ca.crt" >>"$work/pip.conf"
    mounts="$mounts -v $(readlink -f "$bundle"):/run/host-ca.crt:ro"
fi

target=${TARGET:-core}
name=localhost/lmmbridge:$target
begin=$(date +%s)
# shellcheck disable=SC2086
$B bud --pull-never --isolation chroot --format docker --layers $mounts --target "$target" -t "$name" \
    -f docker/Dockerfile .
echo "build-local: built in $(($(date +%s) - begin)) s"
$B images --format '{{.Name}}:{{.Tag}} {{.Size}}' "$name"

c=$($B from --pull-never "$name")
echo "build-local: MB of Debian and R's libraries, R's own packages, the Python environment, lmmbridge"
$B run --isolation chroot --user root "$c" -- sh -c '
    r=$(du -sm /usr/lib/R | cut -f1) && whole=$(du -sxm /usr /var /etc | cut -f1 | paste -sd+) &&
    echo $(($whole - r)) "$r" $(du -sm /opt/venv /opt/lmmbridge | cut -f1)'
[ $# -gt 0 ] || set -- pytest -n 2 --lmm-require lme4,lmerTest,pbkrtest,nlme,glmmTMB,lm
$B run --isolation chroot "$c" -- "$@"
