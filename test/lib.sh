# shellcheck shell=bash
# Sourced by test/run, test/torture, demo/demo, demo/roundtrip and bench/lib.sh: install what is
# missing, build a copy of the tree in a private directory, start a private
# PostgreSQL and a private Kafka there, and remove all of it at the end.
#
#   ks_install tests|demo ...   apt-get what the named uses miss
#   ks_workdir                  make $WORK, removed at the end (KAFKA_SINK_KEEP=1: kept)
#   ks_build                    build and install into $WORK/inst, tools beside $KFK
#   ks_start_postgres [LINE..]  sets PGHOST, PGPORT, PGUSER; LINEs go to postgresql.conf
#   ks_make_postgres DIR PORT LOG [LINE..]  another one
#   ks_start_broker [PROP..]    sets KAFKA
#   ks_start_registry           sets REGISTRY
#   as CMD..                    as the unprivileged user, in the background's way:
#                               a signal to the script ends it
#
# Everything runs as `postgres` when the caller is root, else as the caller.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WORK=
child=			# process group and session to end with the script
session=		# of the one that was the last
lanes=()		# processes of ours that have such children themselves
at_end=()		# command to run before $WORK goes
KAFKA=${KAFKA:-}
bindir=		# of the PostgreSQL at hand

unset MAKEFLAGS MAKELEVEL MFLAGS PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE \
	PGPASSWORD PGSERVICE PGOPTIONS PGDATA PSQLRC TEMP_CONFIG
export LC_ALL=C.UTF-8 PGTZ=UTC PGCTLTIMEOUT=${PGCTLTIMEOUT:-180}

die() { echo "${0##*/}: $*" >&2; exit 1; }
have() { command -v "$1" > /dev/null; }

# ---- the unprivileged user ----

as_user=()
ks_root() { [ "$(id -u)" = 0 ]; }

# Run in a session of its own, so that a trap need not wait for it and can end
# all of it.  Commands of ours that finish at once need none of this.
as() {
	local rc=0
	setsid "${as_user[@]}" "$@" < /dev/null &
	child=$!
	# shellcheck disable=SC2034 # read by test/run
	session=$child
	wait "$child" || rc=$?
	child=
	return "$rc"
}

# What is left of a session of as(), once it has had its chance to end: programs in
# groups of their own, that finish something first, with a server that is gone.
ks_end_session() {
	local file line
	for file in /proc/[0-9]*/stat; do
		read -r line 2> /dev/null < "$file" || continue
		# state, parent, group, session
		read -r _ _ _ line _ <<< "${line##*) }"
		[ "$line" != "$1" ] || { file=${file#/proc/}; kill -KILL "${file%/stat}" 2> /dev/null || true; }
	done
}

as_now() { "${as_user[@]}" "$@"; }

# ---- the end ----

ks_cleanup() {
	local rc=$? file pid
	trap '' INT TERM HUP
	[ -z "$child" ] || { kill -TERM -- "-$child" 2> /dev/null && wait "$child"; } || true
	for pid in "${lanes[@]}"; do
		{ kill -TERM "$pid" 2> /dev/null && wait "$pid"; } || true
	done
	[ ${#at_end[@]} -eq 0 ] || "${at_end[@]}" || true
	if [ -n "$WORK" ]; then
		while IFS= read -r file; do
			as_now "$bindir/pg_ctl" -D "${file%/*}" -m immediate stop > /dev/null 2>&1 || true
		done < <(find "$WORK" -name postmaster.pid 2> /dev/null)
		while IFS= read -r file; do
			"$top/test/broker/broker" kill "${file%/*}" > /dev/null 2>&1 || true
		done < <(find "$WORK" -path '*broker*/lock' 2> /dev/null)
		while IFS= read -r file; do
			"$top/test/registry/registry" kill "${file%/*}" > /dev/null 2>&1 || true
		done < <(find "$WORK" -path '*registry*/lock' 2> /dev/null)
		[ -z "$child" ] || ks_end_session "$child"
		if [ -n "${KAFKA_SINK_KEEP:-}" ]; then
			echo "kept: $WORK" >&2
		else
			rm -rf "$WORK" || rm -rf "$WORK"
		fi
	fi
	exit "$rc"
}

ks_workdir() {
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/kafka_sink.XXXXXX")
	trap ks_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	chmod 755 "$WORK"
	if ks_root; then
		chown postgres: "$WORK"
		as_user=(runuser -u postgres -- env "HOME=$WORK")
	fi
	cd "$WORK" || exit
}

# ---- packages ----

ks_apt() {
	local sudo=() log
	have apt-get || die "please install: $*"
	ks_root || sudo=(sudo)
	echo "installing: $*"
	log=$(mktemp)
	"${sudo[@]}" apt-get update -q > "$log" 2>&1 || true
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
		--no-install-recommends "$@" >> "$log" 2>&1 || { tail -n 30 "$log" >&2; die "apt-get failed"; }
	rm -f "$log"
}

# Which PostgreSQL: PG_CONFIG if given, else the newest installed server, else
# the distribution's.  Sets PG_CONFIG and pgver ('' unless packaged by Debian).
ks_find_postgres() {
	if [ -z "${PG_CONFIG:-}" ]; then
		pgver=$(find /usr/lib/postgresql -path '*/bin/postgres' 2> /dev/null |
			sed 's|/usr/lib/postgresql/||; s|/.*||' | sort -n | tail -n 1) || true
		if [ -z "$pgver" ]; then
			[ -n "$(apt-cache depends postgresql 2> /dev/null)" ] || ks_apt ca-certificates
			pgver=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p')
		fi
		[ -n "$pgver" ] || die "no PostgreSQL: set PG_CONFIG"
		PG_CONFIG=/usr/lib/postgresql/$pgver/bin/pg_config
	else
		pgver=$(sed -n 's|^/usr/lib/postgresql/\([0-9]*\)/bin/pg_config$|\1|p' <<< "$PG_CONFIG")
	fi
	export PG_CONFIG
}

# Kafka's jars want Java 17, which is not the default everywhere.
ks_has_java() {
	local version
	version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
	[ "${version:-0}" -ge 17 ]
}

ks_jre() {
	local version
	version=$(apt-cache depends default-jre-headless 2> /dev/null | sed -n 's/.*openjdk-\([0-9]*\)-jre.*/\1/p' | head -n 1)
	if [ "${version:-17}" -ge 17 ]; then echo default-jre-headless; else echo openjdk-17-jre-headless; fi
}

ks_install() {
	local use want=() pg=()
	ks_find_postgres
	have cc || want+=(gcc libc6-dev)
	have make || want+=(make)
	[ -e /usr/include/librdkafka/rdkafka_mock.h ] || want+=(librdkafka-dev)
	[ -n "$(find /usr/include -maxdepth 3 -path '*/curl/curl.h' 2> /dev/null)" ] || want+=(libcurl4-openssl-dev)
	[ -e /usr/include/zlib.h ] || want+=(zlib1g-dev)
	[ -x "${PG_CONFIG%/*}/postgres" ] || pg+=("postgresql-$pgver")
	[ -x "$PG_CONFIG" ] && [ -e "$("$PG_CONFIG" --includedir-server)/postgres.h" ] ||
		pg+=("postgresql-server-dev-$pgver")
	for use in "$@"; do
		case $use in
			kafka)
				ks_has_java || want+=("$(ks_jre)")
				[ -e "$(ks_jars)/.stamp" ] || have mvn || want+=(maven)
				;;
			peers)
				[ -e "$(ks_peer_jars)/.stamp" ] || have mvn || want+=(maven)
				perl -MHTTP::Tiny -MJSON::PP -e 1 2> /dev/null || want+=(perl)
				;;
			debezium)
				[ -e "$(ks_debezium_jars)/.stamp" ] || have mvn || want+=(maven)
				;;
			tests)
				[ -n "$(find /usr/share/postgresql/"$pgver" "${PG_CONFIG%/*}/../share" \
					-name pgtap.control 2> /dev/null)" ] || pg+=("postgresql-$pgver-pgtap")
				have pg_prove || want+=(libtap-parser-sourcehandler-pgtap-perl)
				perl -MIPC::Run -e 1 2> /dev/null || want+=(libipc-run-perl)
				perl -MIO::Socket::SSL -e 1 2> /dev/null || want+=(libio-socket-ssl-perl)
				have prove || want+=(perl)
				have openssl || want+=(openssl)
				;;
			consumers)
				ks_python > /dev/null || want+=(python3-confluent-kafka python3-psycopg)
				;;
			avro) ks_have_modules "$(ks_fastavro)" || want+=(python3-pip) ;;
			registry)
				[ -e "$(ks_registry)/app/.stamp" ] || have mvn || want+=(maven)
				perl -MHTTP::Tiny -MJSON::PP -e 1 2> /dev/null || want+=(perl)
				ks_have_modules "$(ks_registry)/python" || want+=(python3-pip)
				;;
			flights) python3 -m pip --version > /dev/null 2>&1 || want+=(python3-pip) ;;
		esac
	done
	[ ${#pg[@]} -eq 0 ] || [ -n "$pgver" ] || die "$PG_CONFIG lacks: ${pg[*]}"
	[ $((${#want[@]} + ${#pg[@]})) -eq 0 ] || ks_apt "${want[@]}" "${pg[@]}"
	# once: ks_copy_server says otherwise
	[ -n "$bindir" ] || bindir=$("$PG_CONFIG" --bindir)
}

# Modules for the unprivileged user's python3, kept from one run to the next: what
# pip installs by a file of names and versions.
ks_have_modules() { [ -e "$1/.stamp" ] || as_now python3 -m pip --version > /dev/null 2>&1; }

# $1: where they are kept, $2: the file
ks_fetch_modules() {
	local python sum
	python=$(as_now sh -c 'command -v python3')
	sum="$("$python" --version) $(cksum < "$2")"
	[ "$(cat "$1/.stamp" 2> /dev/null)" = "$sum" ] && return
	rm -rf "$1"
	"$python" -m pip install -q --disable-pip-version-check --no-deps --root-user-action=ignore \
		--target "$1" -r "$2"
	echo "$sum" > "$1/.stamp"
}

# fastavro, the other side of the tests of Avro; sets modules.
ks_fetch_fastavro() {
	modules=$(ks_fastavro)
	ks_fetch_modules "$modules" "$top/test/avro/requirements.txt"
	ks_readable "$modules" fastavro .stamp
	modules=$readable
}

# A schema registry, and Confluent's serializers; sets registry.
ks_fetch_registry() {
	registry=$(ks_registry)
	KAFKA_SINK_REGISTRY=$registry "$top/test/registry/registry" fetch
	ks_fetch_modules "$registry/python" "$top/test/registry/requirements.txt"
	ks_readable "$registry" registry-parts app/.stamp
	registry=$readable
}

# A private registry, of the jars alone; sets REGISTRY, where it is.
ks_start_registry() {
	local port registry
	registry=$(ks_registry)
	KAFKA_SINK_REGISTRY=$registry "$top/test/registry/registry" fetch
	ks_readable "$registry" registry-parts app/.stamp
	export KAFKA_SINK_REGISTRY=$readable
	port=$("$top/test/broker/broker" free-port)
	as "$WORK/src/test/registry/registry" start "$WORK/registry" "$port"
	# shellcheck disable=SC2034 # read by who calls
	REGISTRY=http://127.0.0.1:$port
}

# A Python with the clients that consumers of one's own are written with.
ks_python() {
	local python
	for python in python3 /usr/bin/python3; do
		if "$python" -c 'import psycopg, confluent_kafka' 2> /dev/null; then
			echo "$python"
			return
		fi
	done
	return 1
}

# ---- build ----

# Where the jars of the broker, of the tests' Debezium and of the bench's peer,
# and what else tests need, are kept from one run to the next.
ks_jars() { ks_cache "${KAFKA_SINK_JARS:-}" test/broker jars; }
ks_debezium_jars() { ks_cache "${KAFKA_SINK_DEBEZIUM_JARS:-}" test/debezium debezium; }
ks_fastavro() { ks_cache "${KAFKA_SINK_FASTAVRO:-}" test/avro fastavro; }
ks_registry() { ks_cache "${KAFKA_SINK_REGISTRY:-}" test/registry registry; }
ks_peer_jars() { ks_cache "${KAFKA_SINK_PEER_JARS:-}" bench peers; }

ks_cache() {
	if [ -n "$1" ]; then
		echo "$1"
	elif [ -w "$top/$2" ]; then
		echo "$top/$2/lib"
	else
		echo "${XDG_CACHE_HOME:-$HOME/.cache}/kafka_sink/$3"
	fi
}

# Fetch the jars of a pom, once, and set jars to where the unprivileged user
# can read them.  $1: pom, $2: where they are kept, $3: name of a copy in $WORK
ks_fetch_jars() {
	jars=$2
	KAFKA_SINK_JARS=$jars "$top/test/broker/broker" jars "$1"
	ks_readable "$jars" "$3" .stamp
	jars=$readable
}

# Sets readable to where the unprivileged user can read a directory: $1, or a
# copy of it in $WORK of name $2.  $3: a file of it.
ks_readable() {
	readable=$1
	if ! as_now test -r "$1/$3"; then
		cp -rp "$1" "$WORK/$2"
		! ks_root || chown -R postgres: "$WORK/$2"
		readable=$WORK/$2
	fi
}

ks_copy_source() {
	mkdir -p "$WORK/src"
	if git -C "$top" rev-parse --is-inside-work-tree > /dev/null 2>&1; then
		git -C "$top" ls-files -co --exclude-standard -z |
			tar -C "$top" --null --ignore-failed-read -T - -cf - 2> /dev/null
	else
		tar -C "$top" --exclude=./.git --exclude=./test/broker/lib --exclude=./test/debezium/lib --exclude=./test/avro/lib \
			--exclude=./test/registry/lib --exclude=./test/conformance/lib --exclude=./bench/lib \
			--exclude='*.o' --exclude='*.so' --exclude=./test/output --exclude=./test/tools/kfk \
			--exclude=./test/tools/proxy -cf - .
	fi | tar -C "$WORK/src" --no-same-owner -xf -
	! ks_root || chown -R postgres: "$WORK/src"
}

# $1: make arguments, e.g. COPT=...
ks_build() {
	local log=$WORK/build.log options
	ks_copy_source
	if ! as make -s -C "$WORK/src" -j "$(nproc)" PG_CONFIG="$PG_CONFIG" DESTDIR="$WORK/inst" \
		"$@" all tools install > "$log" 2>&1; then
		tail -n 60 "$log" >&2
		die "the build failed"
	fi
	! grep -n 'warning:' "$log" || true
	export KFK=$WORK/src/test/tools/kfk

	options=$("$bindir/postgres" --describe-config)
	{
		echo "shared_preload_libraries = 'kafka_sink'"
		echo "dynamic_library_path = '$WORK/inst$("$PG_CONFIG" --pkglibdir):\$libdir'"
		case $options in
			*extension_destdir*) echo "extension_destdir = '$WORK/inst'" ;;
			*extension_control_path*)
				echo "extension_control_path = '$WORK/inst$("$PG_CONFIG" --sharedir):\$system'" ;;
			*) ks_copy_server ;;
		esac
	} > "$WORK/extension.conf"
}

# For a server that takes extensions from its own directory only: a copy of it
# around the extension, since a server's directories are found from where its
# programs are.  The library goes by its bare name there, in the control file as
# in shared_preload_libraries, so that both find the same file.
ks_copy_server() {
	local share lib include file
	share=$("$PG_CONFIG" --sharedir) lib=$("$PG_CONFIG" --pkglibdir) include=$("$PG_CONFIG" --includedir-server)
	as_now mkdir -p "$WORK/inst$bindir"
	as_now cp -L "$bindir"/* "$WORK/inst$bindir"
	# nothing that is there is replaced: not the extension, by an older one
	as_now cp -asn "$share/." "$WORK/inst$share"
	as_now cp -asn "$lib/." "$WORK/inst$lib"
	as_now mkdir -p "$WORK/inst$include"
	as_now cp -asn "$include/." "$WORK/inst$include"
	if [ ! -e "$share/extension/pgtap.control" ]; then
		for file in /usr/share/postgresql/*/extension/pgtap*; do
			[ ! -e "$file" ] || as_now ln -sf "$file" "$WORK/inst$share/extension/"
		done
	fi
	as_now sed -i 's|^module_pathname.*|module_pathname = '"'kafka_sink'"'|' \
		"$WORK/inst$share/extension/kafka_sink.control"
	bindir=$WORK/inst$bindir
}

# ---- servers ----

ks_start_postgres() {
	PGPORT=$("$top/test/broker/broker" free-port)
	export PGPORT PGHOST=$WORK PGUSER=postgres
	ks_make_postgres data "$PGPORT" server.log "$@"
}

# $1: directory in $WORK, $2: port, $3: its log, then lines of postgresql.conf
ks_make_postgres() {
	local data=$WORK/$1 port=$2 log=$WORK/$3
	shift 3
	as "$bindir/initdb" -D "$data" -U postgres -A trust --no-locale -E UTF8 \
		> "$WORK/initdb.log" 2>&1 || { cat "$WORK/initdb.log" >&2; die "initdb failed"; }
	{
		cat "$WORK/extension.conf"
		cat <<-EOF
			port = $port
			listen_addresses = ''
			unix_socket_directories = '$WORK'
			max_worker_processes = 32
			log_line_prefix = '%m [%p] %b %a '
			restart_after_crash = on
		EOF
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >> "$data/postgresql.conf"
	as "$bindir/pg_ctl" -D "$data" -l "$log" -w start > /dev/null ||
		{ tail -n 30 "$log" >&2; die "PostgreSQL does not start"; }
}

ks_start_broker() {
	local jars port
	ks_fetch_jars "$top/test/broker/pom.xml" "$(ks_jars)" jars
	export KAFKA_SINK_JARS=$jars
	port=$("$top/test/broker/broker" free-port)
	as "$WORK/src/test/broker/broker" start "$WORK/broker" "$port" "$@"
	export KAFKA=127.0.0.1:$port
}
