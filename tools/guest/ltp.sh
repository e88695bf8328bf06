#!/bin/sh
# Runs one test of a suite that is on a disk of its own, with nothing left over from the test before.
#
#   keel-ltp SUITEDISK PLACE COMMAND
#
# SUITEDISK is mounted read-only on PLACE once in each boot. COMMAND is run by the shell in an empty folder on the root
# file system, with the environment that the job has. The exit status is the command's, or 99 if the suite is not there.
disk=$1 place=$2 command=$3

kill -KILL -- -1 2>/dev/null
cd / || exit 99
if ! [ -e "$place/.keel-suite" ]; then
	mkdir -p "$place" && mount -t ext4 -o ro "$disk" "$place" || { echo "keel-ltp: no suite on $disk" >&2; exit 99; }
fi
while read -r _ mounted _; do
	case $mounted in "$TMPDIR"/*) left="$mounted ${left:-}" ;; esac
done </proc/mounts
for mounted in ${left:-}; do umount -l "$mounted"; done
rm -rf "$TMPDIR"
mkdir -p "$TMPDIR" && chmod 1777 "$TMPDIR" && cd "$TMPDIR" || exit 99
exec /bin/sh -c "$command"
