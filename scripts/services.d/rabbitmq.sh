# RabbitMQ, and epmd, where Erlang programs find each other.

port=$((OFFSET + 5672))
epmd_port=$((OFFSET + 4370)) erlang_port=$((OFFSET + 4371))
url=amqp://$LOGIN:$PASSWORD@$HOST:$port/%2f
bin=/usr/lib/rabbitmq/bin # the wrappers in /usr/sbin change the user
programs=("$bin/rabbitmq-server" rabbitmq-server amqp-publish amqp-tools)
processes=(epmd rabbitmq)

# RUNNING_UNDER_SYSTEMD only makes the script become the Erlang machine, so that signals reach it.
# Without `-start_epmd false` Erlang would start an epmd that no pid file knows.
settings=(env HOME="$data" RUNNING_UNDER_SYSTEMD=true RABBITMQ_CONF_ENV_FILE=/dev/null
    RABBITMQ_NODENAME="$LOGIN@localhost" RABBITMQ_NODE_IP_ADDRESS="$HOST"
    RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$erlang_port"
    RABBITMQ_CONFIG_FILE="$data/rabbitmq.conf" RABBITMQ_ENABLED_PLUGINS_FILE="$data/plugins"
    RABBITMQ_MNESIA_BASE="$data/mnesia" RABBITMQ_LOG_BASE="$data/log" RABBITMQ_LOGS=-
    ERL_CRASH_DUMP="$data/crash.dump" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS="$HOST"
    RABBITMQ_CTL_ERL_ARGS='-start_epmd false'
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-start_epmd false \
-kernel inet_dist_use_interface {${HOST//./,}}")

start() {
    echo '[].' >"$data/plugins"
    cat >"$data/rabbitmq.conf" <<CONF
default_user = $LOGIN
default_pass = $PASSWORD
vm_memory_high_watermark.absolute = 768MB
disk_free_limit.absolute = 100MB
CONF
    spawn epmd "$epmd_port" epmd -address "$HOST" -port "$epmd_port"
    await is_open "$epmd_port"
    spawn rabbitmq "$port $erlang_port" "${settings[@]}" "$bin/rabbitmq-server"
}

# A message into a queue and out of it.
ready() {
    local queue=imkit-ready-$$-$RANDOM
    is_open "$port" && amqp amqp-declare-queue -q "$queue" &&
        amqp amqp-publish -r "$queue" -b ping &&
        [[ $(amqp amqp-get -q "$queue") == ping ]] && amqp amqp-delete-queue -q "$queue"
}

amqp() { timeout $((ANSWER_SECONDS * 3)) "$1" -u "$url" "${@:2}"; }

urls() { echo "IMKIT_TEST_AMQP_URL=$url"; }

ctl() { exec "${settings[@]}" "$bin/rabbitmqctl" "$@"; }
