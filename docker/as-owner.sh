#!/bin/sh
# Runs a command in a folder of the host as that folder's owner, so that what it writes there is hers.
#   as-owner.sh FOLDER COMMAND...     as root
set -eu
cd "$1"
user=$(stat -c %u .)
group=$(stat -c %g .)
shift
export HOME=/tmp
exec setpriv --reuid "$user" --regid "$group" --clear-groups -- "$@"
