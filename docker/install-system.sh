#!/bin/sh
# Installs, from Debian's or Ubuntu's packages, what is missing: Python's venv, R and the R engines.
# The image, the Makefile and CI all use it; with CI set, also a browser, which the tests of the page
# drive, and a library of its driver's. It never stops a run: what cannot be installed is said in one line,
# and the engines that need it are reported as unavailable.
set -u

tools="make python3 python3-venv"
engines="r-base-core r-cran-lme4 r-cran-nlme r-cran-glmmtmb r-cran-lmertest r-cran-pbkrtest"
browser=
if [ -n "${CI:-}" ]; then
    browser=libatomic1
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || browser="libatomic1 chromium"
fi

go_on() {
    echo "install-system: $1; going on without: $missing" >&2
    exit 0
}

# $1: packages wanted. Prints those that are not installed.
missing_of() {
    for package in $1; do
        case "$installed" in
            *"|$package installed|"*) ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

# $@: packages. Their output is shown only when they fail.
install() {
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >"$log" 2>&1 </dev/null
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    missing="R and its packages lme4, nlme, glmmTMB, lmerTest, pbkrtest"
    command -v Rscript >/dev/null || go_on "no apt-get here, install R yourself"
    exit 0
fi

# shellcheck disable=SC2086
installed="|$(dpkg-query -W -f='${Package} ${db:Status-Status}|' $tools $engines $browser 2>/dev/null)"
missing=$(missing_of "$tools $engines $browser")
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    sudo=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    go_on "neither root nor sudo without a password"
fi

log=$(mktemp) || go_on "no temporary folder"
trap 'rm -f "$log"' EXIT
echo "install-system: installing $missing(about a minute)" >&2
$sudo apt-get update -qq >"$log" 2>&1 </dev/null || go_on "apt-get update failed: $(tail -n 1 "$log")"

# Three steps, so that a distribution that lacks an engine still gets venv.
for group in "$tools" "$engines" $browser; do
    missing=$(missing_of "$group")
    # shellcheck disable=SC2086
    [ -z "$missing" ] || install $missing || go_on "apt-get install failed: $(grep '^E:' "$log" | head -n 1)"
done
