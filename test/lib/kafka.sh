#!/bin/bash
# Runs a broker for tests: a real Apache Kafka (KRaft), or librdkafka's mock.
#
#   kafka.sh available                    exit 0 where a real Kafka can run
#   kafka.sh fetch                        gets the jars, once
#   kafka.sh start DIR [NODES [PORT]]     one node or three; prints "ready BOOTSTRAP"
#   kafka.sh mock DIR [BROKERS]           the mock instead; commands go to DIR/commands
#   kafka.sh node DIR N start|stop|kill|pause|resume
#                                         one node of a cluster in DIR
#   kafka.sh stop DIR                     stops all of it; the data stays
#
# PORT is the first of the brokers' ports; without one, free ports are taken.
# A DIR that was used before is started again with its ports and its data.
# The jars are kept in build/kafka (or SMEM_KAFKA_LIBS).  KAFKA_EXTRA names a
# file of further server properties, KAFKA_LISTENERS further listeners on every
# node, such as "SASL_PLAINTEXT SSL", each known by DIR/bootstrap.NAME then.
# Needs java and, for fetch, mvn.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
libs=${SMEM_KAFKA_LIBS:-$root/build/kafka}
cluster_id=c29tYW1lbS10ZXN0LTAwMQ
ready_seconds=${KAFKA_READY_SECONDS:-90}

die()
{
	echo "kafka.sh: $*" >&2
	exit 1
}

fetched()
{
	compgen -G "$libs/kafka_2.13-*.jar" >/dev/null && compgen -G "$libs/slf4j-simple-*.jar" >/dev/null
}

fetch()
{
	fetched && return
	command -v mvn >/dev/null || die "no mvn to fetch Kafka with"
	mkdir -p "$libs"
	# Into a folder of its own first: an interrupted fetch must not look complete.
	local part
	part=$(mktemp -d "$libs.XXXXXX")
	mvn -B -ntp -q -f "$here/kafka-pom.xml" dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory="$part" >&2 || { rm -rf "$part"; die "mvn failed"; }
	mv "$part"/*.jar "$libs"/
	rmdir "$part"
}

available()
{
	command -v java >/dev/null && { fetched || command -v mvn >/dev/null; }
}

# Adds a listener of each further kind to the node; later lines of its properties win.
write_listeners()
{
	local dir=$1 node=$2 kind name port
	local properties=$dir/$node/server.properties
	local -A value
	[ -n "${KAFKA_LISTENERS:-}" ] || return 0
	for name in listeners advertised.listeners listener.security.protocol.map; do
		value[$name]=$(sed -n "s/^$name=//p" "$properties")
	done
	for kind in $KAFKA_LISTENERS; do
		port=$(free_ports 1)
		value[listeners]+=",$kind://127.0.0.1:$port"
		value[advertised.listeners]+=",$kind://127.0.0.1:$port"
		value[listener.security.protocol.map]+=",$kind:$kind"
		echo "127.0.0.1:$port" >>"$dir/bootstrap.$kind"
	done
	for name in "${!value[@]}"; do echo "$name=${value[$name]}" >>"$properties"; done
}

# Prints N ports that are free now, in the range below the kernel's own choices,
# so that no outgoing connection takes one between now and the start.
free_ports()
{
	local want=$1 port
	for ((port = 15000 + RANDOM % 12000; want > 0; port++)); do
		((port < 31000)) || port=15000
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			want=$((want - 1))
		fi
	done
}

write_properties()
{
	local dir=$1 nodes=$2 port=$3
	local -a ports
	local i voters="" replicas=1 minimum=1
	if [ -n "$port" ]; then
		for ((i = 0; i < nodes; i++)); do ports+=($((port + i)) $((port + 1000 + i))); done
	else
		mapfile -t ports < <(free_ports $((2 * nodes)))
	fi
	((nodes < 3)) || { replicas=3; minimum=2; }
	for ((i = 1; i <= nodes; i++)); do
		voters+="${voters:+,}$i@127.0.0.1:${ports[2 * i - 1]}"
	done
	: >"$dir/bootstrap.new"
	for ((i = 1; i <= nodes; i++)); do
		mkdir -p "$dir/$i"
		cat >"$dir/$i/server.properties" <<-END
			process.roles=broker,controller
			node.id=$i
			controller.quorum.voters=$voters
			listeners=PLAINTEXT://127.0.0.1:${ports[2 * i - 2]},CONTROLLER://127.0.0.1:${ports[2 * i - 1]}
			advertised.listeners=PLAINTEXT://127.0.0.1:${ports[2 * i - 2]}
			controller.listener.names=CONTROLLER
			listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
			log.dirs=$dir/$i/data
			num.partitions=3
			group.initial.rebalance.delay.ms=0
			broker.session.timeout.ms=6000
			broker.heartbeat.interval.ms=1000
			default.replication.factor=$replicas
			offsets.topic.replication.factor=$replicas
			transaction.state.log.replication.factor=$replicas
			share.coordinator.state.topic.replication.factor=$replicas
			transaction.state.log.min.isr=$minimum
			share.coordinator.state.topic.min.isr=$minimum
			min.insync.replicas=$minimum
			offsets.topic.num.partitions=3
			transaction.state.log.num.partitions=3
		END
		write_listeners "$dir" "$i"
		[ -z "${KAFKA_EXTRA:-}" ] || cat "$KAFKA_EXTRA" >>"$dir/$i/server.properties"
		echo "127.0.0.1:${ports[2 * i - 2]}" >>"$dir/bootstrap.new"
	done
	paste -sd, "$dir/bootstrap.new" >"$dir/bootstrap"
	rm "$dir/bootstrap.new"
}

alive()
{
	[ -s "$1/pid" ] && kill -0 "$(<"$1/pid")" 2>/dev/null
}

start_node()
{
	local node=$1
	alive "$node" && return
	if [ ! -d "$node/data" ]; then
		java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" \
			kafka.tools.StorageTool format -t $cluster_id -c "$node/server.properties" \
			>>"$node/log" 2>&1 || die "could not format (see $node/log)"
	fi
	setsid java -Xms256m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
		-Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
		-cp "$libs/*" kafka.Kafka "$node/server.properties" >>"$node/log" 2>&1 </dev/null &
	echo $! >"$node/pid"
}

# Ends the processes of the given folders: asks all, waits, then insists.
stop_nodes()
{
	local node pid waited=0
	for node in "$@"; do
		! alive "$node" || kill -TERM "$(<"$node/pid")"
	done
	for node in "$@"; do
		while alive "$node"; do
			((waited++ < 150)) || kill -KILL "$(<"$node/pid")" 2>/dev/null || true
			sleep 0.1
		done
		rm -f "$node/pid"
	done
}

# Ready: an idle answer to a metadata request names every broker.
wait_ready()
{
	local dir=$1 nodes=$2 end=$((SECONDS + ready_seconds)) i
	local bootstrap
	bootstrap=$(<"$dir/bootstrap")
	while [ "$(kcat -L -m 2 -b "$bootstrap" 2>/dev/null | grep -c '^  broker ')" -lt "$nodes" ]; do
		((SECONDS < end)) || die "not ready within $ready_seconds s (see $dir/1/log)"
		for ((i = 1; i <= nodes; i++)); do
			alive "$dir/$i" || die "node $i ended (see $dir/$i/log)"
		done
		sleep 0.2
	done
	echo "ready $bootstrap"
}

start()
{
	local dir=$1 nodes=${2:-1} port=${3:-} i
	command -v java >/dev/null || die "no java"
	fetch
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	[ -s "$dir/bootstrap" ] || write_properties "$dir" "$nodes" "$port"
	nodes=$(tr , '\n' <"$dir/bootstrap" | grep -c .)
	for ((i = 1; i <= nodes; i++)); do start_node "$dir/$i"; done
	wait_ready "$dir" "$nodes"
}

start_mock()
{
	local dir=$1 brokers=${2:-1} end=$((SECONDS + 10))
	local mock=${SMEM_STANDIN:-$root/build/standin}/kafkamock
	mkdir -p "$dir"
	rm -f "$dir/commands"
	mkfifo "$dir/commands"
	: >"$dir/out"
	# Open for reading and writing: the mock must not see an end after each command.
	setsid "$mock" "$brokers" <>"$dir/commands" >"$dir/out" 2>>"$dir/log" &
	echo $! >"$dir/pid"
	until grep -q '^ready' "$dir/out"; do
		((SECONDS < end)) && alive "$dir" || die "the mock did not start (see $dir/log)"
		sleep 0.05
	done
	grep '^ready' "$dir/out"
}

case ${1:-} in
	available) available ;;
	fetch) fetch ;;
	start) start "${@:2}" ;;
	mock) start_mock "${@:2}" ;;
	node)
		case $4 in
			start) start_node "$2/$3" ;;
			stop) stop_nodes "$2/$3" ;;
			kill) kill -KILL "$(<"$2/$3/pid")" && rm -f "$2/$3/pid" ;;
			pause) kill -STOP "$(<"$2/$3/pid")" ;;
			resume) kill -CONT "$(<"$2/$3/pid")" ;;
			*) die "unknown action \"$4\"" ;;
		esac ;;
	stop)
		if [ -s "$2/pid" ]; then stop_nodes "$2"; else stop_nodes "$2"/[0-9]*; fi ;;
	*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
