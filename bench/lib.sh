# shellcheck shell=bash
# Sourced by bench/bench and bench/peers: topics, tables, sinks, and one
# measurement of each side.  What is measured goes to $figures, line by line,
# for bench/report:
#
#   run PATH ours|baseline|beside RUN RECORDS SECONDS [CPU RSS BATCHES BYTES MS...]
#   value NAME UNIT OURS BASELINE
#   machine NAME TEXT
# shellcheck source=test/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../test/lib.sh"

out=$top/bench/out

sql() { as_now "$bindir/psql" -XqAt -v ON_ERROR_STOP=1 -d bench "$@"; }

# Arguments go to postgresql.conf.
# shellcheck disable=SC2119 # no arguments meant
bench_start() {
	local version
	ks_install kafka
	ks_workdir
	figures=$WORK/figures
	ks_build
	ks_start_postgres 'shared_buffers = 2GB' 'max_wal_size = 16GB' 'checkpoint_timeout = 1h' \
		'synchronous_commit = off' 'autovacuum = off' 'wal_compression = off' "$@"
	if [ -n "$KAFKA" ]; then
		at_end=(drop_topics)
	else
		KAFKA_SINK_JVM=full ks_start_broker
	fi
	mkdir -p "$out"
	as_now "$bindir/createdb" bench
	sql <<-SQL
		CREATE EXTENSION kafka_sink;
		CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '$KAFKA');
	SQL
	# A column of some versions only
	index_ms=NULL
	[ "$(sql -c "SELECT count(*) FROM pg_attribute
		WHERE attrelid = 'kafka_sink.stat_sinks'::regclass AND attname = 'index_ms'")" = 0 ] ||
		index_ms='sum(index_ms)'
	version=$("$KFK" features | cut -f 2)
	{
		printf 'machine\tcores\t%s\n' "$(nproc)"
		printf 'machine\tmemory\t%s\n' "$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo)"
		printf 'machine\tpostgresql\t%s\n' "$(sql -c 'SHOW server_version' | cut -d ' ' -f 1)"
		printf 'machine\tlibrdkafka\t%s\n' "$version"
	} > "$figures"
}

# ---- records and rows ----

# Topic $1, $2 records, $3 partitions, made once; the rest goes to `kfk gen`.
topic() {
	local name=$1 records=$2 partitions=$3
	shift 3
	[ ! -e "$WORK/topic.$name" ] || return 0
	echo "  producing $records records into $partitions partitions: $name"
	as "$KFK" -b "$KAFKA" -t 120 create-topic "bench_${name}_$$" "$partitions"
	touch "$WORK/topic.$name"
	[ "$records" = 0 ] || as "$KFK" -b "$KAFKA" gen "bench_${name}_$$" -n "$records" -p "$partitions" "$@" > /dev/null
}

# Delete a topic that no other path uses.
drop_topic() {
	as_now "$KFK" -b "$KAFKA" delete-topic "bench_$1_$$"
	rm "$WORK/topic.$1"
}

# For a broker that lives on
drop_topics() {
	local file
	for file in "$WORK"/topic.*; do
		[ ! -e "$file" ] || drop_topic "${file##*/topic.}"
	done
}

# Make the unlogged table rows_$1, what topic $1 has of columns $2, numbered by
# seq in the order in which a sink reads the topic, and the same without seq as
# a file for COPY, rows_$1.copy; $3: more arguments of the sink.  An identity column tells the order; the
# table's pages would not, as a short row may go where a long one had no room.
rows() {
	local list
	[ ! -e "$WORK/rows_$1.copy" ] || return 0
	sql -c "CREATE TABLE reading (seq bigint GENERATED ALWAYS AS IDENTITY, $2)"
	sink reading "$1" reading insert "${3:-}"
	start_sink reading
	stop_sink reading
	list=$(sql -c "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
		WHERE attrelid = 'reading'::regclass AND attnum > 1")
	sql <<-SQL
		CREATE UNLOGGED TABLE rows_$1 AS TABLE reading ORDER BY seq;
		ALTER TABLE rows_$1 ADD PRIMARY KEY (seq);
		COPY (SELECT $list FROM rows_$1 ORDER BY seq) TO '$WORK/rows_$1.copy';
		VACUUM ANALYZE rows_$1;
		SELECT FROM kafka_sink.drop_sink('reading');
		DROP TABLE reading;
	SQL
}

drop_rows() { sql -c "DROP TABLE rows_$1"; rm -f "$WORK/rows_$1.copy"; }

# Tables ours and theirs.  $1: columns, $2: constraint or ''
tables() {
	sql -c 'SET client_min_messages = error' -c 'DROP TABLE IF EXISTS ours, theirs' \
		-c "CREATE TABLE ours ($1${2:+, $2})" -c "CREATE TABLE theirs ($1${2:+, $2})"
}

# In the columns $compared, or all
same() {
	[ "$(sql -c "SET work_mem = '512MB'" -c "SELECT (SELECT count(*) FROM ours) = (SELECT count(*) FROM theirs)
		AND NOT EXISTS (SELECT ${compared:-*} FROM ours EXCEPT ALL SELECT ${compared:-*} FROM theirs)")" = t ] ||
		die "$1: the tables differ"
}

# What a table has before a run, if not nothing: $prepare with its name for TABLE_
fill() { [ -z "${prepare:-}" ] || sql -c "${prepare//TABLE_/$1}"; }

# ---- one side of a run ----

# Sink $1 of topic $2 into table $3 with insert_mode $4; $5: more arguments
sink() {
	sql -c "SELECT FROM kafka_sink.create_sink('$1', server => 'kafka', target => '$3',
			insert_mode => '$4', enabled => false${5:+, $5})" \
		-c "SELECT FROM kafka_sink.register_topic('$1', 'bench_$2_$$')"
}

start_sink() {
	sql -c "SELECT FROM kafka_sink.seek('$1', 'earliest')" -c CHECKPOINT
	sql -c "SELECT FROM kafka_sink.resume('$1')"
	sql -c "CALL kafka_sink.wait_for('$1', timeout => '10 minutes')"
}

stop_sink() { sql -c "SELECT FROM kafka_sink.pause('$1')"; }

# Seconds of CPU that processes $@ have had
cpu_seconds() {
	local pid
	for pid; do
		sed 's/.*) //' "/proc/$pid/stat"
	done | awk -v hz="$(getconf CLK_TCK)" '{ t += $12 + $13 } END { print t / hz }'
}

# Let sink $1 take its whole topic.  $2: path, $3: run, $4: records,
# $5: ours (default), baseline or beside
run_sink() {
	local seconds records pids cpu rss counters
	start_sink "$1"
	sql -F ' ' -c "SELECT extract(epoch FROM max(last_commit) - min(first_record)), sum(records),
			string_agg(pid::text, ','), max(rss_anon_peak), sum(batches), sum(bytes),
			sum(wait_ms), sum(fetch_ms), sum(decode_ms), sum(apply_ms),
			COALESCE(($index_ms)::text, '-'), sum(commit_ms)
		FROM kafka_sink.stat_sinks WHERE sink = '$1'" > "$WORK/stat"
	read -r seconds records pids rss counters < "$WORK/stat"
	# shellcheck disable=SC2086 # several
	cpu=$(cpu_seconds ${pids//,/ })
	stop_sink "$1"
	[ "$records" = "$4" ] || die "$1: the workers count $records records of $4"
	# What the baseline's batches are to be
	batch=$((($4 + ${counters%% *} - 1) / ${counters%% *}))
	echo "run $2 ${5:-ours} $3 $4 $seconds $cpu $rss $counters" | tr ' ' '\t' >> "$figures"
	printf '  run %s: sink     %8.3f s\n' "$3" "$seconds"
}

# What a statement takes, as the server sees it.  $1: path, $2: run,
# $3: records, $4: SQL, with BATCH for the size of a batch
run_sql() {
	local seconds
	sql -c CHECKPOINT
	seconds=$(sql <<-SQL
		SELECT clock_timestamp() AS start \gset
		${4//BATCH/$batch};
		SELECT extract(epoch FROM clock_timestamp() - :'start');
	SQL
	)
	printf 'run\t%s\tbaseline\t%s\t%s\t%s\n' "$1" "$2" "$3" "$seconds" >> "$figures"
	printf '  run %s: baseline %8.3f s\n' "$2" "$seconds"
}

# RUNS of sink $2 and of statement $4, in turns, as path $1 of $3 records.  A
# side makes its table empty ($5: VACUUM instead) when it is its turn, so that
# each begins behind a checkpoint that has written what the other left: the
# machine is slower then.  If $beside is a sink of the same rows, it has a turn, too.
compare() {
	local run
	for run in $(seq "$RUNS"); do
		sql -c "${5:-TRUNCATE} ours"
		fill ours
		run_sink "$2" "$1" "$run" "$3"
		if [ -n "${beside:-}" ]; then
			sql -c "${5:-TRUNCATE} theirs"
			run_sink "$beside" "$1" "$run" "$3" beside
		fi
		sql -c "${5:-TRUNCATE} theirs"
		fill theirs
		run_sql "$1" "$run" "$3" "$4"
		[ "$run" -gt 1 ] || same "$1"
	done
}

# As above for paths that are not bars: three runs will do.
compare_some() { RUNS=$((RUNS < 3 ? RUNS : 3)) compare "$@"; }

# A procedure NAME(batch) that runs a statement batch by batch over rows_$2 and
# commits after each.  $1: name, $3: statement, with BOUNDS for the condition
batchwise() {
	sql <<-SQL
		CREATE OR REPLACE PROCEDURE $1(batch bigint) LANGUAGE plpgsql AS \$\$
		DECLARE
			last bigint := (SELECT max(seq) FROM rows_$2);
			r record;
		BEGIN
			FOR i IN 0 .. (last - 1) / batch LOOP
				${3//BOUNDS/seq > i * batch AND seq <= (i + 1) * batch};
				COMMIT;
			END LOOP;
		END\$\$
	SQL
}
