# Runs a server that cannot outlive its owner.   usage: sh -c … sh DIR LOG PROGRAM [ARG…]
#
# Standard input is a pipe whose other end only the owner holds. However the owner ends, SIGKILL included, the
# kernel closes that end and `read` below returns. Prints the server's pid, then waits for it; exits as it did.

# When the owner dies while the server is stopped, the kernel sends SIGHUP to the orphaned group. Redis ignores it;
# without this the shell would die of it and leave the server behind.
trap '' HUP

exec 3<&0
dir=$1 log=$2
shift 2

"$@" </dev/null >>"$log" 2>&1 3<&- &
server=$!
echo "$server"
exec >/dev/null 2>&1

{
    # A line: the owner wants the server dead and will clean up itself. End of file: there is no owner any more.
    if read -r _ <&3; then
        kill -KILL "$server"
    else
        trap '' TERM
        kill -KILL "$server"
        exit 3
    fi
} &
watcher=$!

wait "$server"
status=$?
kill -TERM "$watcher"
wait "$watcher"
[ $? -eq 3 ] && rm -rf -- "$dir"
exit "$status"
