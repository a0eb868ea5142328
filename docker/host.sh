# shellcheck shell=sh
# What build-local.sh and matrix.sh share; sourced in the checkout's folder, with $me the script's name.
die() {
    echo "${me:-}: $1" >&2
    exit 1
}

# $@: programs that must be there.
needs() {
    [ "$(id -u)" -eq 0 ] || die "needs root"
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die "$tool is missing: apt-get install --no-install-recommends buildah mmdebstrap"
    done
}

# $1: suite, $2: file, the rest: more for mmdebstrap. A root as a tar, whole or not at all; kept if it is there.
bootstrap() {
    suite=$1 tar=$2
    shift 2
    [ -s "$tar" ] || {
        mmdebstrap --quiet --variant=minbase --mode=root --format=tar \
            --aptopt='Acquire::Check-Valid-Until "false"' "$@" "$suite" "$tar.part"
        mv "$tar.part" "$tar"
    }
}

# $1: folder that takes pip.conf and, if there is one, ca.crt. pip inside asks whom pip here asks, but for folders
# of this machine.
pip_settings() {
    (umask 077 && python3 -m pip config list 2>/dev/null | sed 's/\\n/ /g' | awk -F "='" '
        BEGIN { print "[global]" }
        { sub(/^.*\./, "", $1); sub(/\x27$/, "", $2); n = split($2, words, " "); kept = ""
          for (i = 1; i <= n; i++) if (words[i] !~ /^(file:\/\/)?\//) kept = kept " " words[i] }
        $1 != "cert" && kept != "" && !seen[$1]++ { print $1 " =" kept }' >"$1/pip.conf") || die "cannot read pip's settings"
    bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    if [ -f "$bundle" ]; then
        echo "cert = /run/host-ca.crt" >>"$1/pip.conf"
        cp -L "$bundle" "$1/ca.crt"
    fi
}
