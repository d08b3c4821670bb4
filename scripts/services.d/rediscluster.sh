# A Redis Cluster of three servers without replicas, each with a third of the slots.

port=$((OFFSET + 6390))
ports=("$port" $((port + 1)) $((port + 2)))
# By default 10000 above: that would leave the ports that the kernel does not give away.
bus_ports=($((port + 3)) $((port + 4)) $((port + 5)))
slots=("0 5460" "5461 10922" "10923 16383")
programs=(redis-server redis-server redis-cli redis-tools)
processes=(rediscluster rediscluster-2 rediscluster-3)
# After a start of all, they wait about so long before they trust each other.
node_timeout_ms=2000

start() {
    local i
    for i in 0 1 2; do
        mkdir -p "$data/$i"
        spawn "${processes[i]}" "${ports[i]} ${bus_ports[i]}" redis-server --bind "$HOST" \
            --port "${ports[i]}" --cluster-port "${bus_ports[i]}" --dir "$data/$i" \
            --cluster-enabled yes --cluster-node-timeout "$node_timeout_ms" \
            --appendonly yes --save '' --maxmemory 256mb --enable-debug-command local
    done
    for i in 0 1 2; do await is_open "${ports[i]}"; done
    # Whatever is done already is refused, so that a start that was cut off is no harm.
    for i in 0 1 2; do
        # shellcheck disable=SC2086 # two words
        one "$i" cluster addslotsrange ${slots[i]} >/dev/null || true
        one "$i" cluster set-config-epoch $((i + 1)) >/dev/null || true
    done
    for i in 1 2; do one 0 cluster meet "$HOST" "${ports[i]}" "${bus_ports[i]}" >/dev/null; done
}

ready() { # each says that it knows of all, and of all slots
    local i info
    for i in 0 1 2; do
        info=$(one "$i" cluster info)
        [[ $info == *cluster_state:ok* && $info == *cluster_known_nodes:3* ]] || return 1
    done
}

one() { # AT COMMAND...: fails when it is refused
    timeout "$ANSWER_SECONDS" redis-cli -e -h "$HOST" -p "${ports[$1]}" "${@:2}" 2>&1
}

urls() { echo "IMKIT_TEST_REDIS_CLUSTER_URL=redis://$HOST:$port"; } # no login

ctl() { exec redis-cli -c -h "$HOST" -p "$port" "$@"; }
