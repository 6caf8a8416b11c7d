#!/bin/bash
# Runs a private PostgreSQL out of build/stage (see test/setup/stage.sh).
#
#   server.sh start DIR [NAME=VALUE]...   makes the cluster where there is none, starts it,
#                                         prints "ready PORT SOCKET_FOLDER"
#   server.sh stop DIR [MODE]             fast by default
#   server.sh kill DIR                    kill -9 of the postmaster, and waits for its children
#   server.sh remove DIR                  stops it and deletes all of it
#   server.sh psql DIR [ARGUMENT]...      psql as the superuser "postgres"
#   server.sh env DIR                     prints PGHOST, PGPORT, PGUSER and PATH to eval
#   server.sh where DIR                   prints the folder that is really used
#
# root may not run PostgreSQL: then it runs as the user "postgres".  Where that user cannot
# enter DIR or the stage, both are kept below /var/tmp instead, and a line says so.
# SMEM_STAGE names another stage, SMEM_PRELOAD other libraries than somamem.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
stage=${SMEM_STAGE:-$root/build/stage}

die()
{
	echo "server.sh: $*" >&2
	exit 1
}

# Runs a command as the user that the server runs as.
as_server()
{
	if [ "$(id -u)" = 0 ]; then
		(cd / && runuser -u postgres -- "$@")
	else
		"$@"
	fi
}

# True when the server's user can reach the nearest existing folder above a path.
reachable()
{
	local path=$1
	while [ ! -e "$path" ]; do path=$(dirname "$path"); done
	as_server test -x "$path" 2>/dev/null
}

# Sets dir, and stage, to what the server's user can use.  DIR/elsewhere remembers a fallback.
settle()
{
	dir=$(realpath -m "$1")
	if [ -s "$dir/elsewhere" ]; then
		dir=$(<"$dir/elsewhere")
		stage=$dir/stage
	fi
	[ -s "$stage/bindir" ] || die "no $stage/bindir: run test/setup/stage.sh first"
	pg=$stage$(<"$stage/bindir")
}

fall_back()
{
	local elsewhere
	[ "$(id -u)" = 0 ] || return 0
	if reachable "$dir" && reachable "$pg/postgres"; then return; fi
	elsewhere=$(mktemp -d /var/tmp/somamem.XXXXXX)
	chmod 755 "$elsewhere"
	mkdir -p "$dir"
	echo "$elsewhere" >"$dir/elsewhere"
	echo "server.sh: user \"postgres\" cannot enter $dir or $stage: using $elsewhere" >&2
	cp -a "$stage" "$elsewhere/stage"
	settle "$dir"
}

free_port()
{
	local port
	for ((port = 15000 + RANDOM % 15000; ; port++)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
	done
}

make_cluster()
{
	install -d -m 700 "$dir/socket"
	if [ "$(id -u)" = 0 ]; then chown postgres "$dir" "$dir/socket"; fi
	as_server "$pg/initdb" -D "$dir/data" -A trust -U postgres -E UTF8 --no-sync \
		>"$dir/initdb.log" 2>&1 || { tail -5 "$dir/initdb.log" >&2; die "initdb failed"; }
	free_port >"$dir/port"
	cat >>"$dir/data/postgresql.conf" <<-END
		port = $(<"$dir/port")
		listen_addresses = '127.0.0.1'
		unix_socket_directories = '$socket'
		max_connections = 200
		shared_preload_libraries = '${SMEM_PRELOAD-somamem}'
		include_if_exists = 'somamem.conf'
	END
}

# A socket's path has little more than 100 bytes of room; a deep folder gets one in /tmp.
choose_socket()
{
	socket=$dir/socket
	if [ ${#socket} -gt 80 ]; then
		if [ ! -s "$dir/socket_path" ]; then
			mkdir -p "$dir"
			mktemp -d /tmp/somamem.XXXXXX >"$dir/socket_path"
			if [ "$(id -u)" = 0 ]; then chown postgres "$(<"$dir/socket_path")"; fi
		fi
		socket=$(<"$dir/socket_path")
	fi
}

write_settings()
{
	local setting file=$dir/data/somamem.conf
	[ $# -gt 0 ] || return 0
	for setting in "$@"; do
		printf "%s = '%s'\n" "${setting%%=*}" "$(sed "s/'/''/g" <<<"${setting#*=}")"
	done >"$file"
	if [ "$(id -u)" = 0 ]; then chown postgres "$file"; fi
}

start()
{
	settle "$1"
	fall_back
	mkdir -p "$dir"
	choose_socket
	[ -d "$dir/data" ] || make_cluster
	write_settings "${@:2}"
	as_server "$pg/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 start >/dev/null 2>&1 ||
		{ as_server tail -5 "$dir/log" >&2; die "PostgreSQL did not start (see $dir/log)"; }
	echo "ready $(<"$dir/port") $socket"
}

# Kills the postmaster and waits until it and its children, who end by themselves, are gone:
# a server that is started earlier refuses to.
kill_server()
{
	local end=$((SECONDS + 20)) pid
	pid=$(as_server head -1 "$dir/data/postmaster.pid")
	kill -KILL "$pid"
	while kill -0 "$pid" 2>/dev/null || in_use; do
		((SECONDS < end)) || die "processes of the killed server are still there"
		sleep 0.05
	done
}

# True while a process stands in the data folder, as every server process does.
in_use()
{
	[ -n "$(find /proc/[0-9]*/cwd -maxdepth 0 -lname "$dir/data" 2>/dev/null)" ]
}

stop_server()
{
	as_server test -e "$dir/data/postmaster.pid" || return 0
	as_server "$pg/pg_ctl" -D "$dir/data" -m "${1:-fast}" -w -t 60 stop >/dev/null
}

remove()
{
	local given
	given=$(realpath -m "$1")
	stop_server immediate || true
	[ ! -s "$dir/socket_path" ] || rm -rf "$(<"$dir/socket_path")"
	rm -rf "$dir" "$given"
}

action=${1:-}
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
if [ "$action" = start ]; then
	start "${@:2}"
	exit
fi
settle "$2"
choose_socket
case $action in
	stop) stop_server "${3:-fast}" ;;
	remove) remove "$2" ;;
	kill) kill_server ;;
	psql) exec "$pg/psql" -X -h "$socket" -p "$(<"$dir/port")" -U postgres "${@:3}" ;;
	env) echo "export PGHOST='$socket' PGPORT=$(<"$dir/port") PGUSER=postgres PATH='$pg':\$PATH" ;;
	where) echo "$dir" ;;
	*) die "unknown action \"$action\"" ;;
esac
