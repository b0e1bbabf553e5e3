# shellcheck shell=bash
# Sourced by bench/bench: the paths of feeds.  Their server has wal_level logical,
# which others would pay for; so they have one of their own, started by the first.
#
# The rows are committed, and in the WAL, before a side begins to read it.  The
# baseline is the server's own: pg_recvlogical with pgoutput, which decodes the same
# WAL by a slot of its own and writes it to a pipe that is read away.

feed_topic=

# The library as it is, and one whose producer has no transactions.
feed_server() {
	[ -z "$feed_topic" ] || return 0
	feed_topic=bench_feed_$$
	feed_library=$WORK/inst$("$PG_CONFIG" --pkglibdir)/kafka_sink.so
	as_now cp "$feed_library" "$WORK/with.so"
	as make -s -C "$WORK/src" PG_CONFIG="$PG_CONFIG" clean
	as make -s -C "$WORK/src" -j "$(nproc)" PG_CONFIG="$PG_CONFIG" COPT=-DKS_BENCH_WITHOUT_TRANSACTIONS all tools \
		> "$WORK/build.without.log" 2>&1 || die "the build without transactions failed"
	as_now cp "$WORK/src/kafka_sink.so" "$WORK/without.so"
	logical_server
	make_feed none
}

logical_server() {
	echo 'wal_level = logical' >> "$WORK/data/postgresql.conf"
	restart_server
}

# The table, its publication, what writes into it, and the feed.  $1: envelope
make_feed() {
	as "$KFK" -b "$KAFKA" create-topic "$feed_topic" 4
	sql <<-SQL
		CREATE TABLE feed_rows (id bigint PRIMARY KEY, qty int, price numeric(10,2), at timestamptz, note text);
		CREATE PUBLICATION feed_rows FOR TABLE feed_rows WITH (publish = 'insert, update, delete');
		-- n events from 'first' on, each_commit in a transaction
		CREATE PROCEDURE write_rows(first bigint, n bigint, each_commit bigint) LANGUAGE plpgsql AS \$\$
		BEGIN
			FOR i IN 0 .. n / each_commit - 1 LOOP
				INSERT INTO feed_rows SELECT id, id % 1000, (id % 100000) / 100.0, '2024-01-01'::timestamptz + id * interval '1 s',
					'note of ' || id FROM generate_series(first + i * each_commit, first + (i + 1) * each_commit - 1) id;
				COMMIT;
			END LOOP;
		END\$\$;
		CREATE PROCEDURE write_messages(first bigint, n bigint, each_commit bigint) LANGUAGE plpgsql AS \$\$
		BEGIN
			FOR i IN 0 .. n / each_commit - 1 LOOP
				PERFORM kafka_sink.emit('feed', '$feed_topic', id::text, json_build_object('id', id, 'qty', id % 1000, 'price', (id % 100000) / 100.0,
					'at', '2024-01-01'::timestamptz + id * interval '1 s', 'note', 'note of ' || id)::text)
				FROM generate_series(first + i * each_commit, first + (i + 1) * each_commit - 1) id;
				COMMIT;
			END LOOP;
		END\$\$;
		SELECT FROM kafka_sink.create_feed('feed', server => 'kafka', publication => 'feed_rows', topic => '$feed_topic', envelope => '$1',
			progress_topic => 'bench_progress_$$');
		CALL kafka_sink.wait_for('feed', timeout => '2 min');
		SELECT FROM kafka_sink.pause('feed');
		SELECT FROM pg_create_logical_replication_slot('baseline', 'pgoutput');
	SQL
	touch "$WORK/topic.feed"
}

feed_restart() {
	as_now cp "$WORK/$1.so" "$feed_library.new"
	as_now mv "$feed_library.new" "$feed_library"
	restart_server
}

restart_server() {
	as "$bindir/pg_ctl" -D "$WORK/data" -l "$WORK/server.log" -m fast -w restart > /dev/null ||
		{ tail -n 30 "$WORK/server.log" >&2; die "PostgreSQL does not start"; }
}

# Records that readers of what is committed see
feed_records() { as "$KFK" -b "$KAFKA" ranges "$feed_topic" | awk '{ n += $3 - $2 } END { print n + 0 }'; }

# Let the feed publish what is in the WAL.  $1: path, $2: run, $3: records,
# $4: ours (default) or baseline
run_feed() {
	local seconds records pid rss cpu before counters
	before=$(feed_records)
	sql -c CHECKPOINT -c "SELECT FROM kafka_sink.resume('feed')"
	sql -c "CALL kafka_sink.wait_for('feed', timeout => '10 minutes')"
	sql -F ' ' -c "SELECT extract(epoch FROM last_commit - started_at), records, pid, commits, bytes, commit_ms
		FROM kafka_sink.stat_feeds WHERE feed = 'feed'" > "$WORK/stat"
	read -r seconds records pid counters < "$WORK/stat"
	cpu=$(cpu_seconds "$pid")
	rss=$(awk '/^RssAnon/ { print $2 * 1024 }' "/proc/$pid/status")
	sql -c "SELECT FROM kafka_sink.pause('feed')"
	[ "$records" = "$3" ] || die "$1: the worker counts $records records of $3"
	[ "$2" -gt 1 ] || [ "$(($(feed_records) - before))" = "$3" ] || die "$1: readers do not see $3 records"
	echo "run $1 ${4:-ours} $2 $3 $seconds $cpu $rss ${counters% *} - - - - - ${counters##* }" | tr ' ' '\t' >> "$figures"
	printf '  run %s: %-8s %8.3f s\n' "$2" "$([ "${4:-ours}" = ours ] && echo feed || echo baseline)" "$seconds"
}

# What pg_recvlogical needs for the same WAL
run_recvlogical() {
	local start end
	end=$(sql -c 'SELECT pg_current_wal_flush_lsn()')
	sql -c CHECKPOINT
	start=$(date +%s.%N)
	as "$bindir/pg_recvlogical" -d bench -S baseline --start -f - --endpos "$end" -o proto_version=1 \
		-o publication_names=feed_rows -o messages=true > /dev/null
	printf 'run\t%s\tbaseline\t%s\t%s\t%s\n' "$1" "$2" "$3" "$(echo "$(date +%s.%N) $start" | awk '{ print $1 - $2 }')" >> "$figures"
	tail -n 1 "$figures" | awk '{ printf "  run %s: baseline %8.3f s\n", $4, $6 }'
}

# $1: path, $2: procedure, $3: records, $4: of a transaction
compare_feed() {
	local run
	feed_server
	for run in $(seq "$RUNS"); do
		sql -c 'TRUNCATE feed_rows' -c "SELECT FROM pg_replication_slot_advance('baseline', pg_current_wal_lsn())"
		sql -c "CALL $2(1, $3, $4)"
		run_feed "$1" "$run" "$3"
		run_recvlogical "$1" "$run" "$3"
	done
}

path_feed_insert() { compare_feed feed_insert write_rows $((RECORDS / 2)) 1000; }
path_feed_small() { compare_feed feed_small write_rows $((RECORDS / 20)) 1; }
path_feed_emit() { compare_feed feed_emit write_messages $((RECORDS / 2)) 1000; }

# What exactly once costs: the same worker with a producer that has no transactions
path_feed_once() {
	local run n=$((RECORDS / 2))
	feed_server
	for run in $(seq "$RUNS"); do
		sql -c 'TRUNCATE feed_rows' -c "CALL write_rows(1, $n, 1000)"
		run_feed feed_once "$run" "$n"
		feed_restart without
		sql -c 'TRUNCATE feed_rows' -c "CALL write_rows(1, $n, 1000)"
		run_feed feed_once "$run" "$n" baseline
		feed_restart with
	done
}

# Milliseconds until a reader of committed records has what a COMMIT has emitted, at 1,000
# a second: from the end of the COMMIT, which has flushed it, and from before the emit().
path_feed_latency() {
	# for so many the broker's Java is still warming up
	local n=$((1000 * LATENCY_SECONDS)) warm=15000 follower follow reader figure since
	feed_server
	sql -c "SELECT FROM kafka_sink.resume('feed')" -c "CALL kafka_sink.wait_for('feed', timeout => '2 min')"
	mkfifo "$WORK/follow"
	as "$KFK" -b "$KAFKA" -t 120 follow "$feed_topic" -n "$((n + warm))" > "$WORK/follow" &
	follower=$!
	exec {follow}< "$WORK/follow"
	read -r figure <&"$follow"
	[ "$figure" = ready ] || die "feed_latency: nobody follows"
	cat <&"$follow" > "$WORK/followed" &
	reader=$!
	sql <<-SQL
		CREATE TABLE emitted (n bigint, begun_us bigint, committed_us bigint);
		CREATE PROCEDURE emit_paced(n bigint, rate float8) LANGUAGE plpgsql AS \$\$
		DECLARE
			start timestamptz := clock_timestamp();
			begun bigint[] := array_fill(0::bigint, ARRAY[n::int]);
			committed bigint[] := array_fill(0::bigint, ARRAY[n::int]);
		BEGIN
			FOR i IN 1 .. n LOOP
				PERFORM pg_sleep(extract(epoch FROM start + i / rate * interval '1 s' - clock_timestamp()))
					WHERE clock_timestamp() < start + i / rate * interval '1 s';
				begun[i] := extract(epoch FROM clock_timestamp()) * 1e6;
				PERFORM kafka_sink.emit('feed', '$feed_topic', i::text, '{"id": ' || i || '}');
				COMMIT;
				committed[i] := extract(epoch FROM clock_timestamp()) * 1e6;
			END LOOP;
			INSERT INTO emitted SELECT ordinality, u, v FROM unnest(begun, committed) WITH ORDINALITY AS u (u, v);
		END\$\$;
		SET synchronous_commit = on;
		CALL emit_paced($((n + warm)), 1000);
	SQL
	wait "$follower" || die "feed_latency: records are missing"
	wait "$reader"
	exec {follow}<&-
	sql -c "SELECT FROM kafka_sink.pause('feed')"
	sql <<-SQL
		CREATE TABLE followed (us bigint, n bigint);
		\\copy followed FROM '$WORK/followed'
		CREATE TABLE feed_latency AS SELECT (us - committed_us) / 1e3 AS latency, (us - begun_us) / 1e3 AS latency_whole
			FROM followed JOIN emitted USING (n) WHERE n > $warm;
	SQL
	[ "$(sql -c 'SELECT count(*) FROM feed_latency')" = "$n" ] || die "feed_latency: not every record has been seen once"
	for since in latency latency_whole; do
		sql -F $'\t' <<-SQL | tee -a "$figures" | sed -n 's/^value\t\([^\t]*\)\tms\t\([0-9.-]*\).*/  \1 \2 ms/p'
			SELECT 'value', 'feed_${since}_' || (ARRAY['p50', 'p99', 'max'])[i], 'ms', round(ms::numeric, 3), '-'
			FROM unnest((SELECT percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY $since) FROM feed_latency))
				WITH ORDINALITY AS figure (ms, i)
		SQL
	done
}

path_feed_idle() {
	local seconds=20 pid cpu
	feed_server
	sql -c "SELECT FROM kafka_sink.resume('feed')" -c "CALL kafka_sink.wait_for('feed', timeout => '2 min')"
	pid=$(sql -c "SELECT pid FROM kafka_sink.stat_feeds WHERE feed = 'feed'")
	cpu=$(cpu_seconds "$pid")
	sleep $seconds
	cpu=$(echo "$cpu $(cpu_seconds "$pid")" | awk -v s=$seconds '{ printf "%.2f", ($2 - $1) * 100 / s }')
	sql -c "SELECT FROM kafka_sink.pause('feed')"
	printf 'value\tfeed_idle_cpu\t%% of a core\t%s\t-\n' "$cpu" >> "$figures"
	echo "  $cpu % of a core"
}

# One transaction larger than memory could be: what the worker's memory grows to.
path_feed_large() {
	local n=$((RECORDS * 5)) peak=0 rss pid
	feed_server
	sql -c 'TRUNCATE feed_rows' -c "CALL write_rows(1, $n, $n)"
	sql -c "SELECT FROM kafka_sink.resume('feed')"
	sql -c "CALL kafka_sink.wait_for('feed', timeout => '60 minutes')" &
	while kill -0 $! 2> /dev/null; do
		pid=$(sql -c "SELECT pid FROM kafka_sink.stat_feeds WHERE feed = 'feed'")
		rss=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2> /dev/null || true)
		[ "${rss:-0}" -le "$peak" ] || peak=$rss
		sleep 0.2
	done
	wait $! || die "feed_large: not published"
	sql -c "SELECT FROM kafka_sink.pause('feed')"
	printf 'value\tfeed_large_rss\tMB\t%s\t-\n' "$((peak / 1024))" >> "$figures"
	printf 'value\tfeed_large_wal\trecords\t%s\t-\n' "$n" >> "$figures"
	echo "  $n rows in a transaction: RssAnon $((peak / 1024)) MB"
}
