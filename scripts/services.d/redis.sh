# Redis, with its append-only file: what was written is there after a kill, but for the last second.

port=$((OFFSET + 6379))
variable=IMKIT_TEST_REDIS_URL
programs=(redis-server redis-server redis-cli redis-tools)

start() {
    spawn "$name" "$port" redis-server --bind "$HOST" --port "$port" --dir "$data" \
        --appendonly yes --save '' --maxmemory 512mb --enable-debug-command local
}

ready() { [[ $(timeout "$ANSWER_SECONDS" redis-cli -h "$HOST" -p "$port" ping) == PONG ]]; }

urls() { echo "$variable=redis://$HOST:$port/0"; } # no login

ctl() { exec redis-cli -h "$HOST" -p "$port" "$@"; }
