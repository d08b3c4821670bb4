# Kafka: one node, broker and controller at once (KRaft).

version=4.4.0
port=$((OFFSET + 9092)) controller_port=$((OFFSET + 9093)) login_port=$((OFFSET + 9094))
tls_port=$((OFFSET + 9095))
programs=(kcat kcat)
# The second binds Kafka's logging to an output, in the version that Kafka is built with.
jars=("org.apache.kafka:kafka_2.13:$version" org.apache.logging.log4j:log4j-slf4j-impl:2.25.5)
jar_folder=$DIR/jars/kafka-$version

start() {
    java_words 512m
    configure
    java+=("-Dlog4j2.configurationFile=$data/log4j2.properties")
    # The id of the cluster is fixed: a random one may begin with `-`, like an option.
    [[ -f $data/log/meta.properties ]] || logged kafka-init "${java[@]}" kafka.tools.StorageTool \
        format --standalone --cluster-id aW1raXQtc2VydmljZXMtMQ --config "$data/server.properties"
    spawn kafka "$port $controller_port $login_port $tls_port" "${java[@]}" kafka.Kafka "$data/server.properties"
}

# After a kill the broker waits for the end of the session that it had: so sessions are short.
configure() {
    # The certificate of the tests, and its key, which everybody knows.
    cat "$HERE/../im-testkit/src/suite/bus/tls/"{key,cert}.pem >"$data/tls.pem"
    cat >"$data/server.properties" <<CONF
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://$HOST:$port,SASL_PLAINTEXT://$HOST:$login_port,SSL://$HOST:$tls_port,CONTROLLER://$HOST:$controller_port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=$data/tls.pem
listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_$LOGIN="$PASSWORD";
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=$HOST:$controller_port
log.dirs=$data/log
auto.create.topics.enable=true
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
CONF
    cat >"$data/log4j2.properties" <<'CONF'
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
CONF
}

# A message that the broker confirms.
ready() {
    is_open "$port" && echo ping | timeout $((ANSWER_SECONDS * 3)) kcat -P -b "$HOST:$port" \
        -t imkit-ready -X acks=all -X message.timeout.ms=$((ANSWER_SECONDS * 2000))
}

urls() {
    echo "IMKIT_TEST_KAFKA_URL=kafka://$HOST:$port"
    echo "IMKIT_TEST_KAFKA_TLS_URL=kafkas://$HOST:$tls_port"
    echo "IMKIT_TEST_KAFKA_LOGIN_URL=kafka://$LOGIN:$PASSWORD@$HOST:$login_port"
}

ctl() { exec kcat -b "$HOST:$port" "$@"; }
