# RocketMQ 5: a name server; a broker and the proxy, which speaks gRPC, in one process.

version=5.5.0
port=$((OFFSET + 8081)) namesrv_port=$((OFFSET + 9876)) broker_port=$((OFFSET + 10911))
# Three of the broker's further ports have no setting for the address: they listen on every one.
broker_ports=$((broker_port - 2))\ $broker_port\ $((broker_port + 1))\ $((broker_port + 3))
jars=(org.apache.rocketmq:rocketmq-{namesrv,broker,proxy,tools}":$version")
jar_folder=$DIR/jars/rocketmq-$version
processes=(namesrv rocketmq)

# gRPC clients find neither a topic nor a consumer group that nobody made: neither is made on use.
topics=(imkit-test-{1..8})
groups=(imkit-test-{1..32})

# What it reaches into, from Java 17 on.
opened=(--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED
    --add-opens=java.base/{sun.nio.ch,java.nio,java.lang}"=ALL-UNNAMED")

start() {
    configure
    java_words 128m -XX:TieredStopAtLevel=1 "${opened[@]}"
    spawn namesrv "$namesrv_port" env ROCKETMQ_HOME="$data" "${java[@]}" \
        org.apache.rocketmq.namesrv.NamesrvStartup -c "$data/namesrv.conf"
    # A broker that misses the name server asks again only after 10 s.
    await is_open "$namesrv_port"
    java_words 512m -XX:MaxDirectMemorySize=256m "${opened[@]}"
    spawn rocketmq "$port $broker_ports" env ROCKETMQ_HOME="$data" "${java[@]}" \
        org.apache.rocketmq.proxy.ProxyStartup -pm LOCAL -n "$HOST:$namesrv_port" \
        -bc "$data/broker.conf" -pc "$data/proxy.json"
}

# The files are small: by default a commit log takes 1 GiB, an index 400 MiB, each at a time. Each
# revive thread adds two seconds to the end.
configure() {
    cat >"$data/namesrv.conf" <<CONF
bindAddress=$HOST
listenPort=$namesrv_port
CONF
    cat >"$data/broker.conf" <<CONF
brokerClusterName=imkit
brokerName=imkit-broker
brokerId=0
brokerIP1=$HOST
bindAddress=$HOST
listenPort=$broker_port
haListenPort=$((broker_port + 1))
namesrvAddr=$HOST:$namesrv_port
registerNameServerPeriod=10000
storePathRootDir=$data/store
storePathCommitLog=$data/store/commitlog
mappedFileSizeCommitLog=67108864
maxHashSlotNum=50000
maxIndexNum=200000
reviveQueueNum=2
autoCreateTopicEnable=true
autoCreateSubscriptionGroup=true
CONF
    cat >"$data/proxy.json" <<CONF
{"rocketMQClusterName": "imkit", "namesrvAddr": "$HOST:$namesrv_port", "localServeAddr": "$HOST",
 "grpcServerPort": $port, "remotingListenPort": $((broker_port + 3))}
CONF
}

# The broker confirms a message, the name server knows where its topic is, and the proxy speaks
# HTTP/2: it answers the preface and empty settings with a frame of settings.
ready() {
    local hello='PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00'
    local message='"topic":"imkit-ready","defaultTopic":"TBW102","defaultTopicQueueNums":"1"'
    message+=',"producerGroup":"imkit-ready","queueId":"0","sysFlag":"0","bornTimestamp":"0"'
    message+=',"flag":"0","properties":"","reconsumeTimes":"0","unitMode":"false","batch":"false"'
    remote "$broker_port" 10 "$message" ping | grep -qa '"code":0,.*"msgId"' &&
        remote "$namesrv_port" 105 '"topic":"imkit-ready"' | grep -qa "$HOST:$broker_port" &&
        ask "$port" "$hello" head -c 4 | od -An -tx1 | grep -q ' 04 *$'
}

# Topics and groups of that name are left as they are: only what is not there yet is made.
setup() {
    local item
    [[ ! -f $data/made ]] || return 0
    for item in "${topics[@]}"; do
        make 17 "$item" "\"topic\":\"$item\",\"defaultTopic\":\"TBW102\",\"readQueueNums\":\"4\"\
,\"writeQueueNums\":\"4\",\"perm\":\"6\",\"topicFilterType\":\"SINGLE_TAG\"\
,\"topicSysFlag\":\"0\",\"order\":\"false\",\"attributes\":\"+message.type=NORMAL\""
    done
    for item in "${groups[@]}"; do make 200 "$item" '' "{\"groupName\":\"$item\"}"; done
    touch "$data/made"
}

make() { # CODE NAME FIELDS [BODY]: a topic (17) or a group (200)
    remote "$broker_port" "$1" "${@:3}" | grep -qa '"code":0,' ||
        fail_with_log "$SET/rocketmq.log" "rocketmq: the broker did not make $2"
}

# remote PORT CODE FIELDS [BODY]: a request in RocketMQ's own protocol, and the answer.
remote() {
    local head sizes body=${4-} all
    head="{\"code\":$2,\"language\":\"OTHER\",\"version\":0,\"opaque\":1,\"flag\":0"
    head+=",\"extFields\":{$3}}"
    all=$((4 + ${#head} + ${#body}))
    printf -v sizes '\\x00\\x00\\x%02x\\x%02x' $((all >> 8)) $((all & 255)) \
        $((${#head} >> 8)) $((${#head} & 255))
    ask "$1" "$sizes$head$body" dd bs=64k count=1 status=none
}

urls() { echo "IMKIT_TEST_ROCKETMQ_URL=rocketmq://$HOST:$namesrv_port"; }

ctl() {
    java_words 128m -XX:TieredStopAtLevel=1 "${opened[@]}"
    ROCKETMQ_HOME=$data NAMESRV_ADDR=$HOST:$namesrv_port exec "${java[@]}" \
        org.apache.rocketmq.tools.command.MQAdminStartup "$@"
}
