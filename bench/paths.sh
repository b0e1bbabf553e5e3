# shellcheck shell=bash
# Sourced by bench/bench: the paths, path_NAME or path_GROUP with an argument.
# bench/peers has columns and latency of it.
# shellcheck disable=SC2154 # out and figures are of bench/lib.sh

columns='id bigint, qty int, price numeric(12,2), at timestamptz, note text'
assign='qty = excluded.qty, price = excluded.price, at = excluded.at, note = excluded.note'

has_argument() {
	[ "$(sql -c "SELECT '$1' = ANY (proargnames) FROM pg_proc
		WHERE oid = 'kafka_sink.create_sink'::regproc")" = t ] ||
		{ echo "  skipped: create_sink has no argument \"$1\""; return 1; }
}

# Topic, rows and file of the records that most paths share
base() { topic base "$RECORDS" 4; rows base "$columns"; }

# Rows with the keys of the records and other values
fill_base() {
	sql -c "INSERT INTO ours SELECT id, qty + 1, price + 1, at + '1 s'::interval, upper(note) FROM rows_base" \
		-c 'INSERT INTO theirs TABLE ours' -c 'VACUUM ANALYZE ours, theirs'
}

# The same as sink, if this version has the insert mode
try_sink() {
	sink "$@" 2> "$WORK/error" && return
	grep -q 'invalid value for setting "insert_mode"' "$WORK/error" || { cat "$WORK/error" >&2; die "no sink $1"; }
	echo "  skipped: create_sink has no insert_mode \"$4\""
	return 1
}

# ---- inserts ----

path_insert_pk() {
	base
	tables "$columns" 'PRIMARY KEY (id)'
	sink insert_pk base ours insert
	compare insert_pk insert_pk "$RECORDS" "COPY theirs FROM '$WORK/rows_base.copy'"
}

path_insert_noindex() {
	base
	tables "$columns"
	sink insert_noindex base ours insert
	compare insert_noindex insert_noindex "$RECORDS" "COPY theirs FROM '$WORK/rows_base.copy'"
}

path_insert_wide() {
	local n=$((RECORDS / 4)) of='id bigint, qty int, price numeric(12,2), at timestamptz,
		note text, total bigint, ok boolean, ratio float8'
	topic wide "$n" 4 --shape broad
	rows wide "$of"
	tables "$of" 'PRIMARY KEY (id)'
	sink insert_wide wide ours insert
	compare insert_wide insert_wide "$n" "COPY theirs FROM '$WORK/rows_wide.copy'"
}

# Into tables as people have them: the same records, more to do for each row.

# Every record refers to one of as many parents, at random.
path_insert_fk() {
	topic fk "$RECORDS" 4 -k "rand:$RECORDS"
	rows fk "$columns"
	sql -c "CREATE TABLE IF NOT EXISTS parents AS SELECT generate_series(0, $RECORDS)::bigint AS id" \
		-c 'ALTER TABLE parents DROP CONSTRAINT IF EXISTS parents_pkey, ADD PRIMARY KEY (id)' \
		-c 'VACUUM ANALYZE parents'
	tables "$columns" 'FOREIGN KEY (id) REFERENCES parents'
	sink insert_fk fk ours insert
	compare insert_fk insert_fk "$RECORDS" "COPY theirs FROM '$WORK/rows_fk.copy'"
}

# One partition for each of twelve parts of the month
path_insert_partitioned() {
	local side i
	base
	sql -c 'SET client_min_messages = error' -c 'DROP TABLE IF EXISTS ours, theirs'
	for side in ours theirs; do
		sql -c "CREATE TABLE $side ($columns) PARTITION BY RANGE (at)"
		for i in $(seq 0 11); do
			sql -c "CREATE TABLE ${side}_$i PARTITION OF $side FOR VALUES
				FROM ('2026-01-01 00:00+00'::timestamptz + $i * interval '56 hours')
				TO ('2026-01-01 00:00+00'::timestamptz + $((i + 1)) * interval '56 hours')"
		done
	done
	sink insert_partitioned base ours insert
	compare insert_partitioned insert_partitioned "$RECORDS" "COPY theirs FROM '$WORK/rows_base.copy'"
}

path_insert_identity() {
	base
	tables "no bigint GENERATED ALWAYS AS IDENTITY, $columns"
	sink insert_identity base ours insert
	compared='id, qty, price, at, note' \
		compare insert_identity insert_identity "$RECORDS" "COPY theirs (id, qty, price, at, note) FROM '$WORK/rows_base.copy'"
}

path_insert_generated() {
	base
	tables "$columns, total numeric GENERATED ALWAYS AS (qty * price) STORED"
	sink insert_generated base ours insert
	compare insert_generated insert_generated "$RECORDS" "COPY theirs (id, qty, price, at, note) FROM '$WORK/rows_base.copy'"
}

# Random keys into an index that is larger than what is written
path_insert_uuid() {
	local of='id uuid, qty int, price numeric(12,2), at timestamptz, note text' before=$((RECORDS * 5 / 2))
	topic uuid "$RECORDS" 4 --shape uuid
	rows uuid "$of"
	tables "$of" 'PRIMARY KEY (id)'
	sql -c "CREATE UNLOGGED TABLE IF NOT EXISTS before_uuid AS
			SELECT gen_random_uuid() AS id, i AS qty FROM generate_series(1, $before) i"
	sink insert_uuid uuid ours insert
	prepare='INSERT INTO TABLE_ SELECT id, qty FROM before_uuid' \
		compare insert_uuid insert_uuid "$RECORDS" "COPY theirs FROM '$WORK/rows_uuid.copy'"
	sql -c 'DROP TABLE before_uuid'
	drop_rows uuid
}

path_insert_indexes3() {
	base
	tables "$columns" 'PRIMARY KEY (id)'
	sql -c 'CREATE INDEX ON ours (at)' -c 'CREATE INDEX ON ours (qty, price)' \
		-c 'CREATE INDEX ON theirs (at)' -c 'CREATE INDEX ON theirs (qty, price)'
	sink insert_indexes3 base ours insert
	compare insert_indexes3 insert_indexes3 "$RECORDS" "COPY theirs FROM '$WORK/rows_base.copy'"
}

# The record whole, 1 kB, under a GIN index
path_insert_jsonb() {
	local n=$((RECORDS / 8))
	topic jsonb "$n" 4 --size 1000
	rows jsonb 'doc jsonb' "columns => '{\"doc\": \"@value\"}'"
	tables 'doc jsonb'
	sql -c 'CREATE INDEX ON ours USING gin (doc jsonb_path_ops)' -c 'CREATE INDEX ON theirs USING gin (doc jsonb_path_ops)'
	sink insert_jsonb jsonb ours insert "columns => '{\"doc\": \"@value\"}'"
	compare insert_jsonb insert_jsonb "$n" "COPY theirs FROM '$WORK/rows_jsonb.copy'"
	drop_rows jsonb
}

# Against COPY's binary format, which has nothing to parse
path_binary() {
	base
	[ -e "$WORK/rows_base.binary" ] ||
		sql -c "COPY (SELECT id, qty, price, at, note FROM rows_base ORDER BY seq) TO '$WORK/rows_base.binary' (FORMAT binary)"
	case $1 in
		pk) tables "$columns" 'PRIMARY KEY (id)' ;;
		noindex) tables "$columns" ;;
	esac
	sink "binary_$1" base ours insert
	compare "binary_$1" "binary_$1" "$RECORDS" "COPY theirs FROM '$WORK/rows_base.binary' (FORMAT binary)"
}

# ---- upserts ----

# Changes of rows that are all there, in Debezium's envelope
path_upsert_debezium() {
	base
	topic debezium "$RECORDS" 4 --shape debezium
	tables "$columns" 'PRIMARY KEY (id)'
	fill_base
	sink upsert_debezium debezium ours upsert "envelope => 'debezium'"
	batchwise upsert_base base "INSERT INTO theirs SELECT id, qty, price, at, note
		FROM rows_base WHERE BOUNDS ON CONFLICT (id) DO UPDATE SET $assign"
	compare upsert_debezium upsert_debezium "$RECORDS" 'CALL upsert_base(BATCH)' VACUUM
}

path_upsert_new() {
	base
	tables "$columns" 'PRIMARY KEY (id)'
	sink upsert_new base ours upsert
	batchwise upsert_base base "INSERT INTO theirs SELECT id, qty, price, at, note
		FROM rows_base WHERE BOUNDS ON CONFLICT (id) DO UPDATE SET $assign"
	compare upsert_new upsert_new "$RECORDS" 'CALL upsert_base(BATCH)'
}

path_upsert_existing() {
	base
	tables "$columns" 'PRIMARY KEY (id)'
	fill_base
	sink upsert_existing base ours upsert
	batchwise upsert_base base "INSERT INTO theirs SELECT id, qty, price, at, note
		FROM rows_base WHERE BOUNDS ON CONFLICT (id) DO UPDATE SET $assign"
	compare upsert_existing upsert_existing "$RECORDS" 'CALL upsert_base(BATCH)' VACUUM
}

path_upsert_hot() {
	topic hot "$RECORDS" 4 -k rand:10000
	rows hot "$columns"
	tables "$columns" 'PRIMARY KEY (id)'
	sink upsert_hot hot ours upsert
	batchwise upsert_distinct hot "INSERT INTO theirs SELECT DISTINCT ON (id) id, qty, price, at, note
		FROM rows_hot WHERE BOUNDS ORDER BY id, seq DESC ON CONFLICT (id) DO UPDATE SET $assign"
	batchwise upsert_by_row hot "FOR r IN SELECT * FROM rows_hot WHERE BOUNDS ORDER BY seq LOOP
			INSERT INTO theirs VALUES (r.id, r.qty, r.price, r.at, r.note)
				ON CONFLICT (id) DO UPDATE SET $assign;
		END LOOP"
	compare upsert_hot upsert_hot "$RECORDS" 'CALL upsert_distinct(BATCH)'
	compare_some upsert_hot_by_row upsert_hot "$RECORDS" 'CALL upsert_by_row(BATCH)'
}

# ---- formats with schemas ----

# The schemas of kfk's shapes, as a registry would have them that has been asked; there is none.
schemas() {
	local proto='syntax = "proto3"; package shop;
		import "google/protobuf/timestamp.proto"; import "confluent/type/decimal.proto";
		message Sale { int64 id = 1; int32 qty = 2; confluent.type.Decimal price = 3;
			google.protobuf.Timestamp at = 4; string note = 5; }'
	local sale='{"type": "record", "name": "Sale", "namespace": "shop", "fields": [
		{"name": "id", "type": "long"}, {"name": "qty", "type": "int"},
		{"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
		{"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
		{"name": "note", "type": "string"}]}'
	local change='{"type": "record", "name": "Envelope", "namespace": "shop.public.sales", "fields": [
		{"name": "before", "type": ["null", {"type": "record", "name": "Value", "fields": [
			{"name": "id", "type": "long"}, {"name": "qty", "type": "int"},
			{"name": "price", "type": {"type": "bytes", "scale": 2, "precision": 12, "connect.version": 1,
				"connect.parameters": {"scale": "2", "connect.decimal.precision": "12"},
				"connect.name": "org.apache.kafka.connect.data.Decimal", "logicalType": "decimal"}},
			{"name": "at", "type": {"type": "string", "connect.version": 1, "connect.name": "io.debezium.time.ZonedTimestamp"}},
			{"name": "note", "type": "string"}], "connect.name": "shop.public.sales.Value"}]},
		{"name": "after", "type": ["null", "Value"]},
		{"name": "source", "type": {"type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql", "fields": [
			{"name": "version", "type": "string"}, {"name": "connector", "type": "string"}, {"name": "name", "type": "string"},
			{"name": "ts_ms", "type": "long"}, {"name": "snapshot", "type": ["null", "string"]},
			{"name": "db", "type": "string"}, {"name": "schema", "type": "string"}, {"name": "table", "type": "string"},
			{"name": "txId", "type": ["null", "long"]}, {"name": "lsn", "type": ["null", "long"]}]}},
		{"name": "op", "type": "string"}, {"name": "ts_ms", "type": ["null", "long"]}], "connect.name": "shop.public.sales.Envelope"}'
	[ ! -e "$WORK/schemas" ] || return 0
	sql -v sale="$sale" -v change="$change" -v proto="$proto" <<-'SQL'
		ALTER SERVER kafka OPTIONS (ADD schema_registry_url 'http://127.0.0.1:9');
		INSERT INTO kafka_sink.schemas (server, registry, id, type, schema, refs)
			SELECT 'kafka', 'http://127.0.0.1:9', i, 'AVRO', :'sale', '[]'::jsonb FROM generate_series(1, 1000) i
			UNION ALL SELECT 'kafka', 'http://127.0.0.1:9', 1000001, 'AVRO', :'change', '[]'::jsonb
			UNION ALL SELECT 'kafka', 'http://127.0.0.1:9', 2000001, 'PROTOBUF', :'proto', '[]'::jsonb;
	SQL
	touch "$WORK/schemas"
}

path_insert_pk_avro() {
	schemas
	base
	topic avro "$RECORDS" 4 --shape avro
	tables "$columns" 'PRIMARY KEY (id)'
	sink insert_pk_avro avro ours insert "format => 'avro'"
	sink json_of_avro base theirs insert
	beside=json_of_avro compare insert_pk_avro insert_pk_avro "$RECORDS" "COPY theirs FROM '$WORK/rows_base.copy'"
}

path_insert_pk_protobuf() {
	schemas
	base
	topic protobuf "$RECORDS" 4 --shape protobuf
	tables "$columns" 'PRIMARY KEY (id)'
	sink insert_pk_protobuf protobuf ours insert "format => 'protobuf'"
	sink json_of_protobuf base theirs insert
	beside=json_of_protobuf compare insert_pk_protobuf insert_pk_protobuf "$RECORDS" "COPY theirs FROM '$WORK/rows_base.copy'"
}

path_upsert_debezium_avro() {
	schemas
	base
	topic avro_debezium "$RECORDS" 4 --shape avro-debezium
	tables "$columns" 'PRIMARY KEY (id)'
	fill_base
	sink upsert_debezium_avro avro_debezium ours upsert "format => 'avro', envelope => 'debezium'"
	batchwise upsert_base base "INSERT INTO theirs SELECT id, qty, price, at, note
		FROM rows_base WHERE BOUNDS ON CONFLICT (id) DO UPDATE SET $assign"
	compare upsert_debezium_avro upsert_debezium_avro "$RECORDS" 'CALL upsert_base(BATCH)' VACUUM
}

# So many schemas by turns; the baseline is the sink with one.
path_avro() {
	local ids=${1#ids_} run
	schemas
	topic avro "$RECORDS" 4 --shape avro
	topic "avro_$ids" "$RECORDS" 4 --shape avro --ids "$ids"
	tables "$columns" 'PRIMARY KEY (id)'
	sink "avro_$ids" "avro_$ids" ours insert "format => 'avro'"
	sink "avro_one_$ids" avro theirs insert "format => 'avro'"
	for run in $(seq "$RUNS"); do
		sql -c 'TRUNCATE ours'
		run_sink "avro_$ids" "avro_ids_$ids" "$run" "$RECORDS"
		sql -c 'TRUNCATE theirs'
		run_sink "avro_one_$ids" "avro_ids_$ids" "$run" "$RECORDS" baseline
		[ "$run" -gt 1 ] || same "avro_ids_$ids"
	done
	drop_topic "avro_$ids"
}

# ---- folding ----

totals='id bigint, qty bigint, price numeric, n bigint, at timestamptz'
add_totals='qty = t.qty + excluded.qty, price = t.price + excluded.price, n = t.n + excluded.n,
	at = greatest(t.at, excluded.at)'

path_accumulate_hot() {
	has_argument accumulate || return 0
	topic hot "$RECORDS" 4 -k rand:10000
	rows hot "$columns"
	tables "$totals" 'PRIMARY KEY (id)'
	sink accumulate_hot hot ours accumulate \
		"accumulate => '{\"qty\": \"sum\", \"price\": \"sum\", \"n\": \"count\", \"at\": \"max\"}'"
	batchwise accumulate_hot hot "INSERT INTO theirs AS t SELECT id, sum(qty), sum(price), count(*), max(at)
		FROM rows_hot WHERE BOUNDS GROUP BY id ON CONFLICT (id) DO UPDATE SET $add_totals"
	compare accumulate_hot accumulate_hot "$RECORDS" 'CALL accumulate_hot(BATCH)'
}

# The baseline only copies what the command has aggregated.
path_command_agg() {
	local run
	has_argument command || return 0
	topic hot "$RECORDS" 4 -k rand:10000
	rows hot "$columns"
	tables "$totals" 'PRIMARY KEY (id)'
	sql <<-SQL
		CREATE TYPE sale AS (id bigint, qty int, price numeric, at timestamptz);
		CREATE TABLE copied ($columns);
		SELECT FROM kafka_sink.create_sink('command_agg', server => 'kafka', enabled => false, value_type => 'sale',
			command => 'INSERT INTO public.ours AS t SELECT id, sum(qty), sum(price), count(*), max(batch.at) FROM batch
				GROUP BY id ON CONFLICT (id) DO UPDATE SET $add_totals');
		SELECT FROM kafka_sink.register_topic('command_agg', 'bench_hot_$$');
		INSERT INTO theirs SELECT id, sum(qty), sum(price), count(*), max(at) FROM rows_hot GROUP BY id;
	SQL
	for run in $(seq "$RUNS"); do
		sql -c 'TRUNCATE ours'
		run_sink command_agg command_agg "$run" "$RECORDS"
		sql -c 'TRUNCATE copied'
		run_sql command_agg "$run" "$RECORDS" "COPY copied FROM '$WORK/rows_hot.copy'"
		[ "$run" -gt 1 ] || same command_agg
	done
}

# ---- more of the same ----

path_workers_2() {
	local run
	has_argument workers || return 0
	topic ranges "$RECORDS" 4 -k ranges
	tables "$columns" 'PRIMARY KEY (id)'
	sink workers_1 ranges theirs insert 'workers => 1'
	sink workers_2 ranges ours insert 'workers => 2'
	for run in $(seq "$RUNS"); do
		sql -c 'TRUNCATE ours'
		run_sink workers_2 workers_2 "$run" "$RECORDS"
		sql -c 'TRUNCATE theirs'
		run_sink workers_1 workers_2 "$run" "$RECORDS" baseline
		[ "$run" -gt 1 ] || same workers_2
	done
}

# The baseline is the sink with a fifth of the records.
path_linear() {
	local run
	topic base "$RECORDS" 4
	topic long $((RECORDS * 5)) 4
	tables "$columns" 'PRIMARY KEY (id)'
	sink linear_long long ours insert
	sink linear_base base theirs insert
	for run in 1 2 3; do
		sql -c 'TRUNCATE ours'
		run_sink linear_long linear "$run" $((RECORDS * 5))
		sql -c 'TRUNCATE theirs'
		run_sink linear_base linear "$run" "$RECORDS" baseline
	done
	drop_topic long
}

# insert_pk of topic $1, records $2, for path $1; made for it and dropped after
insert_once() {
	rows "$1" "$columns"
	tables "$columns" 'PRIMARY KEY (id)'
	sql -c 'ALTER TABLE ours ALTER note SET STORAGE EXTERNAL' \
		-c 'ALTER TABLE theirs ALTER note SET STORAGE EXTERNAL'
	sink "$1" "$1" ours insert
	compare_some "$1" "$1" "$2" "COPY theirs FROM '$WORK/rows_$1.copy'"
	drop_rows "$1"
	drop_topic "$1"
}

path_partitions() {
	topic "partitions_$1" "$RECORDS" "$1"
	insert_once "partitions_$1" "$RECORDS"
}

# As many bytes as the other paths have, about
path_size() {
	topic "size_$1" $((RECORDS * 120 / $1)) 4 --size "$1"
	insert_once "size_$1" $((RECORDS * 120 / $1))
}

path_codec() {
	[[ ",none,$("$KFK" features | cut -f 1)," = *",$1,"* ]] || { echo "  skipped: librdkafka was built without $1"; return; }
	topic "codec_$1" "$RECORDS" 4 -z "$1"
	insert_once "codec_$1" "$RECORDS"
}

# ---- insert modes that are not bars ----

path_mode_ignore() {
	base
	tables "$columns" 'PRIMARY KEY (id)'
	sink mode_ignore base ours ignore
	batchwise ignore_base base 'INSERT INTO theirs SELECT id, qty, price, at, note
		FROM rows_base WHERE BOUNDS ON CONFLICT DO NOTHING'
	compare_some mode_ignore mode_ignore "$RECORDS" 'CALL ignore_base(BATCH)'
}

path_mode_update() {
	base
	tables "$columns" 'PRIMARY KEY (id)'
	try_sink mode_update base ours update || return 0
	fill_base
	batchwise update_base base 'UPDATE theirs t SET qty = b.qty, price = b.price, at = b.at, note = b.note
		FROM rows_base b WHERE t.id = b.id AND BOUNDS'
	compare_some mode_update mode_update "$RECORDS" 'CALL update_base(BATCH)' VACUUM
}

# ---- latency ----

# Milliseconds from the acknowledgement until a SELECT shows the row.  A row
# became visible after the begin of the last SELECT that did not show it and
# before the end of the first that did: the latter is taken, and the distance
# of the two is the resolution.  Within a partition rows come in order, so a
# SELECT needs to look behind the last row of each only.
latency_tables() {
	sql <<-SQL
		CREATE TABLE latency (id bigint PRIMARY KEY, qty int, sent_us bigint);
		CREATE TABLE acked (id bigint, us bigint);
		CREATE TABLE shown (id bigint, since timestamptz, at timestamptz);
		CREATE VIEW waited AS
			SELECT extract(epoch FROM at) * 1e3 - us / 1e3 AS ms, extract(epoch FROM at - since) * 1e3 AS resolution
			FROM acked JOIN shown USING (id);
		CREATE PROCEDURE watch(first bigint, n bigint, timeout interval) LANGUAGE plpgsql AS \$\$
		DECLARE
			last bigint[] := array_fill(first - 1, ARRAY[4]);
			deadline timestamptz := clock_timestamp() + timeout;
			previous timestamptz := clock_timestamp();
			begun timestamptz;
			ended timestamptz;
			found bigint[];
			i bigint;
			ids bigint[] := '{}';
			sinces timestamptz[] := '{}';
			ats timestamptz[] := '{}';
		BEGIN
			WHILE cardinality(ids) < n LOOP
				begun := clock_timestamp();
				found := ARRAY(SELECT id FROM latency
					WHERE id > (SELECT min(u) FROM unnest(last) u) AND id > last[id % 4 + 1] ORDER BY id);
				ended := clock_timestamp();
				FOREACH i IN ARRAY found LOOP
					ids := array_append(ids, i);
					sinces := array_append(sinces, previous);
					ats := array_append(ats, ended);
					last[i % 4 + 1] := i;
				END LOOP;
				previous := begun;
				COMMIT;
				IF ended > deadline THEN
					RAISE EXCEPTION '% of % rows are there after %', cardinality(ids), n, timeout;
				END IF;
				PERFORM pg_sleep(0.001);
			END LOOP;
			INSERT INTO shown SELECT * FROM unnest(ids, sinces, ats);
		END\$\$
	SQL
}

# Of what arrives in table latency out of topic $1 once records of shape $2 are
# produced; to file $3.
measure_latency() {
	local first=1000 n=$((1000 * LATENCY_SECONDS)) watcher
	local watch=(-c 'SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off')
	sql -c 'TRUNCATE latency, acked, shown'
	as "$KFK" -b "$KAFKA" latency "bench_$1_$$" --shape "$2" -n "$first" --rate 1000 > "$WORK/warm" 2>&1
	sql "${watch[@]}" -c "CALL watch(0, $first, '1 min')" -c 'TRUNCATE shown'

	sql "${watch[@]}" -c "CALL watch($first, $n, '$((LATENCY_SECONDS + 60)) s')" &
	watcher=$!
	until [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL watch%'")" = 1 ]; do
		kill -0 "$watcher" || die "latency: nobody watches"
	done
	as "$KFK" -b "$KAFKA" latency "bench_$1_$$" --shape "$2" -n "$n" --from "$first" --rate 1000 \
		> "$WORK/acked" 2> "$WORK/acked.log"
	wait "$watcher" || die "latency: rows are missing"
	sql -c "\\copy acked FROM '$WORK/acked'"
	[ "$(sql -c 'SELECT count(*) FROM waited')" = "$n" ] || die "latency: not every row has been acknowledged and seen"
	sql -F $'\t' > "$3" <<-SQL
		SELECT round(p * 100, 2), round(ms, 3) FROM (
			SELECT unnest(ps) AS p, unnest(percentile_disc(ps::float8[]) WITHIN GROUP (ORDER BY ms)) AS ms
			FROM waited, (SELECT ARRAY(SELECT i / 100.0 FROM generate_series(0, 98) i)
				|| ARRAY(SELECT i / 1000.0 FROM generate_series(990, 999) i)
				|| ARRAY[0.9995, 0.9999, 1] AS ps) x GROUP BY ps) y
	SQL
}

path_latency() {
	local figure
	topic latency 0 4
	latency_tables
	sink latency latency latency insert
	sql -c "SELECT FROM kafka_sink.resume('latency')"
	measure_latency latency small "$out/latency.tsv"
	stop_sink latency
	for figure in 50 99 100; do
		awk -v p="$figure" '$1 == p { printf "value\tlatency_%s\tms\t%s\t-\n", p == 100 ? "max" : "p" p, $2 }' \
			"$out/latency.tsv" >> "$figures"
	done
	sql -F $'\t' -c "SELECT 'value', 'latency_resolution_p' || p, 'ms', round(percentile_disc(p / 100.0)
		WITHIN GROUP (ORDER BY resolution), 3), '-' FROM waited, unnest(ARRAY[50, 99]) p GROUP BY p ORDER BY p" >> "$figures"
	sed -n 's/^value\t\(latency[^\t]*\)\tms\t\([0-9.-]*\).*/  \1 \2 ms/p' "$figures"
}

# A running sink without records beside a paused one.
path_idle() {
	local seconds=20 pid start cpu side wal=()
	topic idle 1 4
	sql -c 'CREATE TABLE idle (id bigint PRIMARY KEY, qty int)'
	sink idle idle idle insert
	start_sink idle
	pid=$(sql -c "SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'idle'")
	for side in running paused; do
		[ $side = running ] || stop_sink idle
		sql -c CHECKPOINT
		start=$(sql -c 'SELECT pg_current_wal_lsn()')
		[ $side = paused ] || cpu=$(cpu_seconds "$pid")
		sleep $seconds
		[ $side = paused ] || cpu=$(echo "$cpu $(cpu_seconds "$pid")" |
			awk -v s=$seconds '{ printf "%.2f", ($2 - $1) * 100 / s }')
		wal[${#wal[@]}]=$(sql -c "SELECT pg_current_wal_lsn() - '$start'")
	done
	printf 'value\tidle_cpu\t%% of a core\t%s\t-\n' "$cpu" >> "$figures"
	printf 'value\tidle_wal\tbytes in %s s\t%s\t%s\n' $seconds "${wal[0]}" "${wal[1]}" >> "$figures"
	echo "  $cpu % of a core; WAL in $seconds s: ${wal[0]} bytes, paused ${wal[1]}"
}
