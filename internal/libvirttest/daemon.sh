# Runs libvirtd, and ends with it and all guests on SIGTERM, which is also what the
# kernel sends when the test has died.
#
#   daemon.sh TREE system|session LIBVIRTD
#
# In mode system it is process 1 of a PID namespace and root of a mount namespace.
# Descriptor 3 is the socket that libvirtd accepts connections on, 4 and 5 are a test host's
# for TCP and TLS.
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
	[ -z "$child" ] || { kill -KILL "$child" && wait "$child"; }
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
if [ -f "$tree/hostname" ]; then # a test host
	cat "$tree/hostname" >/proc/sys/kernel/hostname && cover etc/hosts && cover etc/shadow || exit 77
fi
if [ -d "$tree/ssh" ]; then
	sshd=$(readlink "$tree/ssh/sshd")
	# Where it is only unpacked, so is a library.
	LD_LIBRARY_PATH=$(echo "${sshd%/sbin/sshd}"/lib/*-linux-gnu) "$sshd" -D -e -f "$tree/ssh/config" 3<&- 4<&- 5<&- &
fi

# libvirtd takes over a socket as from systemd, which names the receiver by its PID
# (sd_listen_fds(3)). The sockets are kept for a libvirtd that is to follow.
while :; do
	# shellcheck disable=SC2016 # expanded by the inner shell
	sh -c 'LISTEN_PID=$$ exec "$@"' sh "$libvirtd" --config "$tree/libvirtd.conf" \
		--pid-file "$tree/run/libvirtd.pid" &
	child=$!
	# The wait also reaps orphans: guests are children of process 1 of the namespace, and
	# libvirt looks again and again until a guest that it ended is no zombie any more.
	wait "$child"
	status=$?
	child=
	[ -p "$tree/restart" ] || break
	# Daemon.Kill was it, which leaves the guests running until Daemon.Restart.
	cat "$tree/restart" 3<&- 4<&- 5<&- &
	child=$!
	wait "$child"
	rm -- "$tree/restart"
done
end_guests
exit "$status"
