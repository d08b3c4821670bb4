# A second Redis, so that a test can take one of two away.

# shellcheck source-path=SCRIPTDIR source=redis.sh
. "$HERE/services.d/redis.sh"
port=$((OFFSET + 6380))
variable=IMKIT_TEST_REDIS2_URL
