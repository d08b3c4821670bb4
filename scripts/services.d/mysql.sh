# MariaDB, which speaks MySQL's protocol.

port=$((OFFSET + 3306))
programs=(mariadbd mariadb-server mariadb mariadb-client)
client=(mariadb --no-defaults "-h$HOST" "-P$port" "-u$LOGIN" "-p$PASSWORD")

start() {
    local user
    user=$(id -un)
    if [[ ! -d $data/mysql ]]; then
        rm -rf "$data" "$data.part"
        logged mysql-init mariadb-install-db --no-defaults --user="$user" --datadir="$data.part" \
            --auth-root-authentication-method=normal --skip-test-db
        mv "$data.part" "$data"
    fi
    cat >"$data/init.sql" <<SQL
CREATE DATABASE IF NOT EXISTS $LOGIN;
CREATE USER IF NOT EXISTS '$LOGIN'@'%' IDENTIFIED BY '$PASSWORD';
GRANT ALL ON *.* TO '$LOGIN'@'%' WITH GRANT OPTION;
SQL
    spawn mysql "$port" mariadbd --no-defaults --user="$user" --datadir="$data" \
        --init-file="$data/init.sql" --bind-address="$HOST" --port="$port" \
        --socket=mysql.sock --pid-file=mysql.pid --skip-name-resolve --max-connections=200 \
        --character-set-server=utf8mb4 --collation-server=utf8mb4_unicode_ci
}

ready() { timeout $((ANSWER_SECONDS * 3)) "${client[@]}" -e 'select 1' "$LOGIN"; }

urls() { echo "IMKIT_TEST_MYSQL_URL=mysql://$LOGIN:$PASSWORD@$HOST:$port/$LOGIN"; } # all rights

ctl() { exec "${client[@]}" "$LOGIN" "$@"; }
