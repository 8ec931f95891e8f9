# Runs libvirtd, and ends with it and all guests on SIGTERM, which is also what the
# kernel sends when the test has died.
#
#   daemon.sh TREE system|session LIBVIRTD
#
# In mode system it is process 1 of a PID namespace and root of a mount namespace.
# Descriptor 3 is the socket that libvirtd accepts connections on.
set -u
tree=$1 mode=$2 libvirtd=$3
child=

# end_guests is for when libvirtd is gone. Where this is process 1, all others of the
# namespace are what libvirtd left.
end_guests() {
	if [ "$mode" = system ]; then
		[ $$ -ne 1 ] || kill -KILL -1
	else
		for file in "$tree"/run/libvirt/qemu/run/*.pid; do
			[ ! -f "$file" ] || kill -KILL "$(cat "$file")"
		done
	fi
	wait
}

# shellcheck disable=SC2317 # called by the trap
finish() {
	trap '' TERM
	[ -z "$child" ] || kill -KILL "$child"
	wait
	end_guests
	rm -rf -- "$tree"
	exit 0
}
trap finish TERM

# cover puts a file or folder of the tree over the one of the host, for this namespace.
cover() { mount --bind "$tree/$1" "/$1" || exit 77; }

if [ "$mode" = system ]; then
	mount --make-rprivate / && mount -t proc proc /proc || exit 77
	cover etc/libvirt
	cover etc/passwd
	cover etc/group
	cover var/lib
	cover var/cache
	cover var/log
	cover run
fi

# libvirtd takes over a socket as from systemd, which names the receiver by its PID
# (sd_listen_fds(3)).
# shellcheck disable=SC2016 # expanded by the inner shell
LISTEN_FDS=1 LISTEN_FDNAMES=libvirtd.socket \
	sh -c 'LISTEN_PID=$$ exec "$@"' sh "$libvirtd" --config "$tree/libvirtd.conf" \
	--pid-file "$tree/run/libvirtd.pid" &
child=$!
exec 3<&-
# The wait also reaps orphans: guests are children of process 1 of the namespace, and
# libvirt looks again and again until a guest that it ended is no zombie any more.
wait "$child"
status=$?
child=
end_guests
exit "$status"
