#!/usr/bin/env bash
# Rotate the tide logs of a station.
set -euo pipefail

LOG_DIR=/var/log/tide
KEEP_DAYS=${KEEP_DAYS:-21}
readonly LOCK_FILE="/run/lock/tide-rotate"
export RSYNC_RSH='ssh -p 2207'
STATION="$1"

usage() {
  echo "usage: rotate.sh STATION" >&2
  exit 64
}

compress_old() {
  find "$LOG_DIR/$STATION" -name '*.log' -mtime +1 -exec zstd --rm {} +
}

function purge {
  find "$LOG_DIR/$STATION" -name '*.zst' -mtime +"$KEEP_DAYS" -delete
}

[ -n "$STATION" ] || usage
compress_old
purge
