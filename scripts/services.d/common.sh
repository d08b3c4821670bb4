# What scripts/services and the servers' files share: words, installing, processes, asking.
# Here `$name`, `$data`, `$processes` … are those of the server that `with` has loaded.

readonly HOST=127.0.0.1
readonly LOGIN=imkit PASSWORD=imkit # for tests only

say() { printf 'services: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

fail_with_log() { # LOG WORDS...
    say "the last lines of $1:"
    tail -n 30 "$1" | sed 's/^/  | /' >&2
    die "${*:2}"
}

logged() { # LOG COMMAND...: runs it quietly; when it fails, its output is shown and that is the end
    local log=$SET/$1.log
    "${@:2}" >"$log" 2>&1 </dev/null 9>&- || fail_with_log "$log" "failed: ${*:2:4} …"
}

### Installing

has() { # a program, or a pattern of paths
    if [[ $1 == */* ]]; then compgen -G "$1" >/dev/null; else command -v "$1" >/dev/null; fi
}

missing_packages() { # of the loaded server: from its pairs of a program and the package that has it
    local i
    ((${#jars[@]} == 0)) || programs+=(java default-jre-headless)
    ((${#jars[@]} == 0)) || [[ -d $jar_folder ]] || programs+=(mvn maven)
    for ((i = 0; i < ${#programs[@]}; i += 2)); do
        has "${programs[i]}" || echo "${programs[i + 1]}"
    done
}

apt_install() { # PACKAGE...
    local as_root=()
    has apt-get || die "no apt-get here; install by hand: $*"
    if ((EUID)); then
        has sudo || die "not root and no sudo; run as root: apt-get install $*"
        as_root=(sudo)
        [[ -t 0 ]] || as_root+=(-n) # nobody is there to type a password
    fi
    say "installing with apt-get: $*"
    # The policy keeps the packages from starting servers of their own.
    # shellcheck disable=SC2016 # the inner shell expands them
    logged apt "${as_root[@]}" sh -euc '
        policy=/usr/sbin/policy-rc.d
        if [ ! -e $policy ]; then
            trap "rm -f $policy" EXIT
            trap "exit 1" HUP INT TERM
            printf "#!/bin/sh\nexit 101\n" >$policy
            chmod +x $policy
        fi
        export DEBIAN_FRONTEND=noninteractive
        set -- -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@"
        apt-get -q -o DPkg::Lock::Timeout=300 update || echo "going on with the old lists"
        apt-get "$@"' sh "$@"
}

fetch_jars() { # of the loaded server: its `jars` and all that they need, into `$jar_folder`
    local jar group artifact version pom=$SET/$name.pom.xml
    ((${#jars[@]})) && [[ ! -d $jar_folder ]] || return 0
    say "installing with Maven: ${jars[*]}"
    {
        echo '<project><modelVersion>4.0.0</modelVersion><groupId>imkit</groupId>'
        echo "<artifactId>$name</artifactId><version>1</version><packaging>pom</packaging>"
        echo '<dependencies>'
        for jar in "${jars[@]}"; do
            IFS=: read -r group artifact version <<<"$jar"
            echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId>" \
                "<version>$version</version></dependency>"
        done
        echo '</dependencies></project>'
    } >"$pom"
    rm -rf "$jar_folder.part"
    logged "$name-maven" mvn -B -q -ntp -f "$pom" -DincludeScope=runtime \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DoutputDirectory="$jar_folder.part"
    mv "$jar_folder.part" "$jar_folder"
}

# java_words HEAP [OPTION...]: `$java` starts the loaded server's jars, with a small heap and
# nothing in ~.
java_words() {
    mkdir -p "$data/tmp"
    java=(java -Xms64m "-Xmx$1" -XX:+UseSerialGC -XX:-UsePerfData "-Duser.home=$data"
        "-Djava.io.tmpdir=$data/tmp" "${@:2}" -cp "$jar_folder/*")
}

### Processes. PROCESS.pid holds the pid and when it began, so that a stranger who was given the
### same pid later is never touched.

began() { # PID: when, in ticks since boot, and its state; fails once it has ended
    local line fields
    { line=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    read -ra fields <<<"${line##*) }" # what stands before may hold spaces
    # A zombie has ended, but only when its last thread has: until then its ports are taken.
    [[ ${fields[0]} != [ZX] ]] || ((fields[17] > 1)) || return 1
    echo "${fields[19]} ${fields[0]}"
}

pid_of() { # PROCESS: its pid, if it still lives
    local pid since
    { read -r pid since <"$SET/$1.pid"; } 2>/dev/null || return 1
    [[ $(began "$pid") == "$since "* ]] && echo "$pid"
}

is_running() { # the loaded server, with all its processes
    local process
    for process in "${processes[@]}"; do pid_of "$process" >/dev/null || return 1; done
}

is_partly_running() {
    local process
    for process in "${processes[@]}"; do ! pid_of "$process" >/dev/null || return 0; done
    return 1
}

is_paused() { # the loaded server, or a part of it
    local process pid
    for process in "${processes[@]}"; do
        pid=$(pid_of "$process") && [[ $(began "$pid") == *T ]] && return
    done
    return 1
}

forget_the_dead() { # of the loaded server: else `await` takes them for what it has just started
    local process
    for process in "${processes[@]}"; do
        pid_of "$process" >/dev/null || rm -f "$SET/$process.pid"
    done
}

tree() { # PID [SIGNAL]: it and all below it, parents first; with a signal, each gets it at once
    local child
    echo "$1"
    [[ -z ${2-} ]] || kill "-$2" "$1" 2>/dev/null || true
    # shellcheck disable=SC2013 # words, not lines
    for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do tree "$child" "${2-}"; done
}

spawn() { # PROCESS "PORT..." COMMAND...: starts it apart from this shell, unless it lives
    local log=$SET/$1.log port
    ! pid_of "$1" >/dev/null || return 0
    for port in $2; do
        ! is_open "$port" || die "$name: port $port is taken by $(holder "$port");" \
            "end that, or set IMKIT_SERVICES_PORT_OFFSET"
    done
    [[ ! -f $log ]] || mv -f "$log" "$log.old"
    setsid "${@:3}" >"$log" 2>&1 </dev/null 9>&- &
    # `began` fails when it has ended already: `await` says so, with the log.
    echo "$! $(began $! | cut -d' ' -f1)" >"$SET/$1.pid"
}

finish() { # PROCESS [KILL]: ends its tree and waits for it; by force at once or after DOWN_SECONDS
    local root pid since deadline=$((SECONDS + DOWN_SECONDS))
    local -A members=()
    root=$(pid_of "$1") || return 0
    for pid in $(tree "$root" ${2:+STOP}); do # what is stopped has no more children
        ! since=$(began "$pid") || members[$pid]=${since% *}
    done
    if [[ ${2-} == KILL ]]; then
        kill -KILL "${!members[@]}" 2>/dev/null || true
    else
        kill -CONT "${!members[@]}" 2>/dev/null || true
        kill "-$stop_signal" "$root" 2>/dev/null || true
    fi
    while ((${#members[@]})); do
        for pid in "${!members[@]}"; do
            [[ $(began "$pid") == "${members[$pid]} "* ]] || unset "members[$pid]"
        done
        if ((SECONDS >= deadline && ${#members[@]})); then
            say "$1 did not end within $DOWN_SECONDS s: killed"
            kill -KILL "${!members[@]}" 2>/dev/null || true
            deadline=$((SECONDS + DOWN_SECONDS))
        fi
        sleep 0.05
    done
    rm -f "$SET/$1.pid"
}

await() { # CHECK...: until it holds; the end when a process dies or UP_SECONDS are over
    local process deadline=$((SECONDS + UP_SECONDS))
    until "$@" >/dev/null 2>&1; do
        for process in "${processes[@]}"; do
            [[ ! -f $SET/$process.pid ]] || pid_of "$process" >/dev/null ||
                fail_with_log "$SET/$process.log" "$name: $process ended before it answered"
        done
        ((SECONDS < deadline)) || fail_with_log "$SET/$name.log" \
            "$name: no answer within $UP_SECONDS s (IMKIT_SERVICES_TIMEOUT)"
        sleep 0.1
    done
}

### Asking

is_open() { (exec 3<>"/dev/tcp/$HOST/$1") 2>/dev/null; }

holder() { # PORT: who listens there
    local hex inode folder
    printf -v hex ':%04X' "$1"
    inode=$(awk -v p="$hex" '$4 == "0A" && substr($2, length($2) - 4) == p { print $10; exit }' \
        /proc/net/tcp /proc/net/tcp6)
    folder=$(find /proc/[0-9]*/fd -lname "socket:\\[$inode\\]" 2>/dev/null | head -n 1)
    [[ $folder =~ ^/proc/([0-9]+)/ ]] || { echo "another process" && return; }
    echo "process ${BASH_REMATCH[1]} ($(cat "/proc/${BASH_REMATCH[1]}/comm"))"
}

# ask PORT BYTES READER...: sends the bytes, as %b of printf understands them; the reader gets the
# answer and decides.
ask() {
    exec 3<>"/dev/tcp/$HOST/$1" || return
    printf '%b' "$2" >&3
    timeout "$ANSWER_SECONDS" "${@:3}" <&3
    exec 3>&-
}
