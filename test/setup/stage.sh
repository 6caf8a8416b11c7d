#!/bin/bash
# Makes a PostgreSQL of our own in build/stage, with somamem installed in it.
#
# The system's PostgreSQL is never written to.  Its programs find everything
# relative to where they stand, so copies of them under build/stage look for
# libraries and extensions there: ours are files, everybody else's are links
# to the system's.
#
#   stage.sh [TARGET]    TARGET is build/stage by default; PG_CONFIG names the server
#
# What is there is brought up to date; prints nothing when all is well.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
stage=${1:-$root/build/stage}
pg_config=${PG_CONFIG:-pg_config}
mkdir -p "$stage"
stage=$(cd "$stage" && pwd)
log=$stage/install.log

# The stage's own pg_config, when it comes first in PATH, answers with the stage's folders.
folder_of()
{
	local folder
	folder=$("$pg_config" "--$1")
	echo "${folder#"$stage"}"
}

bin=$(folder_of bindir)
lib=$(folder_of pkglibdir)
share=$(folder_of sharedir)
pg_config=$bin/pg_config

# Ours first: what stands there already is not linked over.
if ! "${MAKE:-make}" -C "$root" install DESTDIR="$stage" PG_CONFIG="$pg_config" >"$log" 2>&1; then
	tail -30 "$log" >&2
	exit 1
fi

# Programs are copied: they resolve links before they look around themselves.
mkdir -p "$stage$bin"
cp -u -L "$bin"/* "$stage$bin"/
echo "$bin" >"$stage/bindir"

# Folders become folders and files become links, so that nothing installed here later can
# reach the system's files through a link.  An older somamem of the system's is left out.
for folder in "$lib" "$share"; do
	mkdir -p "$stage$folder"
	cp -rsn "$folder"/. "$stage$folder"/
done
find "$stage$lib" "$stage$share" -type l \( -name 'somamem*' -o -xtype l \) -delete
