#!/bin/bash
# The main job, start to end: memories written through SQL reach SomaBrain and Kafka,
# also while SomaBrain is away.  "make demo" runs it; nothing outside the project's
# folder is touched but the packages that are missing.
#
#   INPUT=FILE     other turns than test/demo/conversation.jsonl
#   KEEP=1         leaves everything running; "test/demo/demo.sh stop" ends it
#   KAFKA=mock     librdkafka's mock broker, also where a real Kafka could run
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
input=$(realpath "${INPUT:-$root/test/demo/conversation.jsonl}")
run=$root/demo
standin=$root/build/standin
database=app
write_seconds=18
down_at=5
up_at=11
drain_seconds=60

cd "$root"

die()
{
	echo "demo: $*" >&2
	exit 1
}

title()
{
	printf '\n%s\n' "$*"
}

# Ends what an earlier run left, and deletes it.
stop_all()
{
	local name
	for name in writer brain; do
		[ ! -s "$run/$name.pid" ] || kill "$(<"$run/$name.pid")" 2>/dev/null || true
	done
	[ ! -d "$run/kafka" ] || test/lib/kafka.sh stop "$run/kafka" || true
	[ ! -d "$run/pg" ] || test/lib/server.sh remove "$run/pg" || true
	rm -f "$run"/*.pid
}

finish()
{
	local code=$?
	if [ -n "${KEEP:-}" ] && [ -n "${started:-}" ]; then
		title "Everything is still running."
		echo "  in a browser  http://$http_address/"
		echo "  look around   $psql_line"
		echo "  stop it       test/demo/demo.sh stop"
	else
		stop_all
	fi
	exit $code
}

build()
{
	local log=$run/build.log
	echo "building ..."
	{ test/setup/stage.sh && "${MAKE:-make}" -C test/standin; } >"$log" 2>&1 ||
		{ tail -30 "$log" >&2; die "the build failed (see $log)"; }
}

start_brain()
{
	local end=$((SECONDS + 10)) word
	: >"$run/brain.out"
	setsid "$standin/somabrain" --record "$run/somabrain.jsonl" >"$run/brain.out" \
		2>"$run/brain.log" </dev/null &
	echo $! >"$run/brain.pid"
	until grep -q '^ready' "$run/brain.out"; do
		((SECONDS < end)) || die "the SomaBrain stand-in did not start"
		sleep 0.05
	done
	read -r word brain_port word control_port <"$run/brain.out"
}

start_kafka()
{
	local word
	if [ "${KAFKA:-}" != mock ] && test/lib/kafka.sh available &&
		test/lib/kafka.sh start "$run/kafka" >"$run/kafka.out" 2>"$run/kafka.log"; then
		kafka_kind="Apache Kafka (KRaft)"
	else
		kafka_kind="librdkafka's mock broker"
		[ ! -s "$run/kafka.log" ] || kafka_kind+=" (no real Kafka: see demo/kafka.log)"
		rm -rf "$run/kafka"
		test/lib/kafka.sh mock "$run/kafka" >"$run/kafka.out"
	fi
	read -r word brokers <"$run/kafka.out"
}

# The usual port where it is free, another one else.
choose_address()
{
	python3 - "$1" <<'PYTHON'
import socket, sys
for port in (int(sys.argv[1]), 0):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print("127.0.0.1:%d" % s.getsockname()[1])
        break
PYTHON
}

start_server()
{
	local word socket
	local rate=1000
	# Of other people's turns there may be more than a tenant may write in a minute.
	[ "$(wc -l <"$input")" -lt "$rate" ] || rate=0
	http_address=$(choose_address 21016)
	metrics_address=$(choose_address 8000)
	test/lib/server.sh start "$run/pg" "somamem.somabrain_url=http://127.0.0.1:$brain_port" \
		"somamem.kafka_brokers=$brokers" "somamem.rate_limit_per_minute=$rate" \
		"somamem.http_listen=$http_address" "somamem.metrics_listen=$metrics_address" >"$run/pg.out"
	read -r word pg_port socket <"$run/pg.out"
	conninfo="host=$socket port=$pg_port user=postgres dbname=$database"
	psql_line="psql -h $socket -p $pg_port -U postgres $database"
	test/lib/server.sh psql "$run/pg" -q -c "CREATE DATABASE $database"
	query "CREATE EXTENSION somamem"
}

query()
{
	test/lib/server.sh psql "$run/pg" -d "$database" -q -At -F ' ' -c "$1"
}

brain()
{
	curl -s -d "$1" "http://127.0.0.1:$control_port/_control" >/dev/null
}

brain_items()
{
	curl -s "http://127.0.0.1:$control_port/_control" | sed 's/.*"distinct":\([0-9]*\).*/\1/'
}

# status, circuit, lag, pending at SomaBrain, pending at Kafka
look()
{
	query "SELECT h->>'status', c->'somabrain'->>'circuit',
	              round((c->'memory_wal_lag'->>'lag_seconds')::numeric, 1),
	              c->'somabrain'->>'pending', c->'kafka'->>'pending'
	       FROM (SELECT h, h->'components' AS c FROM somamem.health() AS h) AS health"
}

show_health()
{
	query "SELECT rpad(key, 22), rpad(value->>'status', 9),
	              coalesce(nullif((value - 'status')::text, '{}'), '')
	       FROM jsonb_each(somamem.health()->'components')
	       UNION ALL SELECT rpad('all', 22), somamem.health()->>'status', ''" | sed 's/^/  /'
}

writing()
{
	kill -0 "$(<"$run/writer.pid")" 2>/dev/null
}

# One line a second, until all is written and nothing is pending.
watch()
{
	local began=$SECONDS second note state circuit lag at_brain at_kafka
	local -r form='  %4s %8s %13s %14s %14s %6s  %-9s %-10s %s\n'
	printf "$form" second written at\ SomaBrain SomaBrain\ owes Kafka\ owes lag\ s health circuit ""
	while :; do
		second=$((SECONDS - began))
		note=
		if ((second == down_at)) && [ -z "${went:-}" ]; then
			brain '{"mode":"down"}'
			went=down
			note="<- SomaBrain is taken away"
		elif ((second >= up_at)) && [ "${went:-}" = down ]; then
			brain '{"mode":"ok"}'
			came_back_us=$(date +%s%6N)
			went=up
			note="<- SomaBrain is back"
		fi
		read -r state circuit lag at_brain at_kafka < <(look)
		printf "$form" "$second" "$(wc -l <"$run/written.jsonl")" "$(brain_items)" \
			"$at_brain" "$at_kafka" "$lag" "$state" "$circuit" "$note"
		if ((second > up_at)) && ! writing && [ "$at_brain $at_kafka" = "0 0" ]; then return; fi
		((second < write_seconds + drain_seconds)) || die "the queue did not drain"
		sleep "$(awk -v t="$(date +%s.%N)" 'BEGIN { print 1 - (t - int(t)) }')"
	done
}

say_recovery()
{
	awk -F'"at":' -v back="$came_back_us" '
		{ split($2, at, ","); if (at[1] >= back) { printf "first delivery %.1f s after SomaBrain was back\n", (at[1] - back) / 1e6; exit } }
	' "$run/somabrain.jsonl"
}

# Addresses that are served, and a taste of each.
show_addresses()
{
	printf '  %-42s %s\n' "http://$http_address/" "a page with the health banner, for a browser" \
		"http://$http_address/v1/health" "$(curl -s "http://$http_address/v1/health" | cut -c 1-70)..." \
		"http://$http_address/readyz" "$(curl -s "http://$http_address/readyz")" \
		"http://$metrics_address/metrics" \
		"$(curl -s "http://$metrics_address/metrics" | grep -c '^[a-z]') samples for Prometheus, such as"
	curl -s "http://$metrics_address/metrics" |
		grep -E '^(memory_wal_lag_seconds|chaos_recovery_duration_seconds_(sum|count)|memory_retry_attempts_total)' |
		sed 's/^/    /'
}

show_sla()
{
	query "SELECT rpad(sink, 10), rpad(\"window\", 6), deliveries, 'rows, p50', round(p50_ms), 'ms, p95', round(p95_ms),
	              'ms, p99', round(p99_ms), 'ms'
	       FROM somamem.sla WHERE \"window\" = '5 min'" | sed 's/^/  /'
}

count()
{
	"$standin/kafkadump" -b "$brokers" memory.wal >"$run/kafka.jsonl"
	test/lib/check_history.py --written "$run/written.jsonl" --somabrain "$run/somabrain.jsonl" \
		--kafka "$run/kafka.jsonl"
}

case ${1:-} in
	"") ;;
	stop) stop_all; exit ;;
	*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac

[ -r "$input" ] || die "cannot read $input"
test/setup/install.sh demo
mkdir -p "$run"
stop_all
rm -rf "${run:?}"/*
build
trap finish EXIT
trap 'exit 130' INT TERM
echo "starting ..."
start_brain
start_kafka
start_server
started=yes
echo "  PostgreSQL  $(query 'SHOW server_version'), private, port $pg_port"
echo "  SomaBrain   stand-in, port $brain_port"
echo "  Kafka       $kafka_kind, $brokers"
echo "  input       ${input#"$root"/}, $(wc -l <"$input") turns"

title "Health before"
show_health

title "Writing the conversation through somamem.memory_write, over $write_seconds seconds"
: >"$run/written.jsonl"
"$standin/writer" -d "$conninfo" -l "$run/written.jsonl" -i "$input" -s "$write_seconds" \
	>"$run/writer.out" 2>&1 &
echo $! >"$run/writer.pid"
watch
grep -v '^rows' "$run/writer.out" || true
say_recovery

title "Health after"
show_health

title "From commit to acknowledgement, the outage included (somamem.sla)"
show_sla

title "Count, payloads and order compared"
count || die "the sinks do not hold what was written"
echo "nothing lost"

title "Served now, and with KEEP=1 also afterwards"
show_addresses
