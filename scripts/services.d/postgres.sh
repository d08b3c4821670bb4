# PostgreSQL, of the version that the distribution has.

port=$((OFFSET + 5432))
url=postgres://$LOGIN:$PASSWORD@$HOST:$port
programs=('/usr/lib/postgresql/*/bin/initdb' postgresql psql postgresql-client)
stop_signal=INT # "fast": does not wait for its clients

start() {
    local bin lock=$data/postmaster.pid as=()
    bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
    # It refuses root. As its own user it keeps one right of root's: to pass through folders that
    # are closed to others, as a home or a temporary folder is.
    ((EUID)) || as=(setpriv --reuid=postgres --regid=postgres --init-groups
        --inh-caps=+dac_read_search --ambient-caps=+dac_read_search)
    if [[ ! -d $data/base ]]; then
        rm -rf "$data"
        mkdir -m 700 "$data"
        ((EUID)) || chown postgres: "$data"
        logged postgres-init "${as[@]}" "$bin/initdb" -D "$data" -U "$LOGIN" -E UTF8 \
            --locale=C.UTF-8 --auth=scram-sha-256 --pwfile=<(echo "$PASSWORD")
    fi
    # It takes the lock of a killed server for alive as long as its zombie is there.
    [[ ! -f $lock ]] || began "$(head -n 1 "$lock")" >/dev/null || rm "$lock"
    spawn postgres "$port" "${as[@]}" "$bin/postgres" -D "$data" -p "$port" \
        -c listen_addresses="$HOST" -c unix_socket_directories= -c max_connections=200
}

ready() { PGCONNECT_TIMEOUT=$ANSWER_SECONDS query 'select 1'; }

setup() {
    [[ $(query "select 1 from pg_database where datname = '$LOGIN'") == 1 ]] ||
        query "create database $LOGIN"
}

query() { timeout $((ANSWER_SECONDS * 3)) psql -XqAt -c "$1" "$url/postgres"; }

urls() { echo "IMKIT_TEST_POSTGRES_URL=$url/$LOGIN"; } # a superuser: tests may create databases

ctl() { exec psql "$url/$LOGIN" "$@"; }
