# NATS with JetStream.

port=$((OFFSET + 4222))
programs=(nats-server nats-server)

start() { spawn nats "$port" nats-server -a "$HOST" -p "$port" -js -sd "$data"; }

# A message through the server and back: it asks JetStream for its state, and JetStream answers.
ready() {
    local hello='CONNECT {"verbose":false}\r\nSUB imkit.ready 1\r\n'
    ask "$port" "${hello}PUB \$JS.API.INFO imkit.ready 0\r\n\r\n" grep -qm1 account_info_response
}

urls() { echo "IMKIT_TEST_NATS_URL=nats://$HOST:$port"; } # no login

ctl() { die "nats: Debian has no client for it"; }
