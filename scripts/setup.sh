#!/usr/bin/env bash
# Installs what maqet needs on Debian and Ubuntu: QEMU, a C compiler (for go-sqlite3), a
# static busybox and a guest kernel. It says each thing it does, and nothing when
# there is nothing to do.
#
#   scripts/setup.sh           do it
#   scripts/setup.sh --test    and get what only the tests need: qemu-guest-agent, libvirt
#   scripts/setup.sh --check   only report what is missing; exit status 1 if anything is
#
# The kernel and qemu-guest-agent are not installed, only unpacked below the cache folder:
#   ${XDG_CACHE_HOME:-~/.cache}/maqet/kernels/ARCH/VERSION/{boot,lib/modules}
#   ${XDG_CACHE_HOME:-~/.cache}/maqet/tools/qemu-guest-agent
set -euo pipefail

readonly go_url=https://go.dev/dl
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
tmp=
tests=
missing_packages=()
apt_updated=

say() { printf 'setup: %s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

cleanup() {
	if [ -n "$tmp" ]; then rm -rf -- "$tmp"; fi
}

# platform sets arch (QEMU's name), deb_arch, qemu_package and meta (kernel packages to
# try, best first).
platform() {
	arch=$(uname -m)
	case $arch in
	x86_64) deb_arch=amd64 qemu_package=qemu-system-x86 ;;
	aarch64) deb_arch=arm64 qemu_package=qemu-system-arm ;;
	*) die "$arch is not supported: only x86_64 and aarch64 hosts are" ;;
	esac
	meta=("linux-image-cloud-$deb_arch" linux-image-virtual linux-image-generic "linux-image-$deb_arch")
	local cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}
	[ "${cache#/}" != "$cache" ] || die "XDG_CACHE_HOME must be an absolute path, it is '$cache'"
	cache_dir=$cache/maqet
	kernel_dir=$cache_dir/kernels/$arch
	agent_dir=$cache_dir/tools/qemu-guest-agent
}

is_debian() { have apt-get && have apt-cache && have dpkg-deb; }

static_busybox() {
	local bin libs
	for bin in /bin/busybox /usr/bin/busybox /bin/busybox.static; do
		[ -x "$bin" ] || continue
		libs=$(LC_ALL=C ldd "$bin" 2>&1) || true # ldd fails for static programs
		case $libs in
		*'not a dynamic'* | *'statically linked'*) return 0 ;;
		esac
	done
	return 1
}

# find_missing fills missing_packages.
find_missing() {
	missing_packages=()
	have "qemu-system-$arch" || missing_packages+=("$qemu_package")
	have qemu-img || missing_packages+=(qemu-utils)
	if ! have "${CC:-gcc}"; then
		missing_packages+=(gcc libc6-dev)
	elif ! echo '#include <stdlib.h>' | "${CC:-gcc}" -E - >/dev/null 2>&1; then
		missing_packages+=(libc6-dev)
	fi
	static_busybox || missing_packages+=(busybox-static)
	# For the Go modules' proxy.
	if is_debian && ! [ -e /etc/ssl/certs/ca-certificates.crt ]; then
		missing_packages+=(ca-certificates)
	fi
	if [ -n "$tests" ]; then find_missing_libvirt; fi
}

# find_missing_libvirt adds what the tests need to run a libvirtd of their own. Besides
# virsh, libvirt-clients has /etc/libvirt, where a test run as root mounts its own folder.
find_missing_libvirt() {
	have libvirtd || [ -x /usr/sbin/libvirtd ] || missing_packages+=(libvirt-daemon)
	compgen -G '/usr/lib*/libvirt/connection-driver/libvirt_driver_qemu.so' >/dev/null ||
		compgen -G '/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so' >/dev/null ||
		missing_packages+=(libvirt-daemon-driver-qemu)
	have virsh || missing_packages+=(libvirt-clients)
}

# as_root runs a command as root, with sudo if need be. can_be_root has been asked.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# can_be_root is true for root, and where sudo works or can ask for a password.
can_be_root() {
	[ "$(id -u)" -eq 0 ] || { have sudo && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; }
}

# apt_get keeps packages from starting services: Debian 13's libvirt-daemon would run
# libvirtd. systemctl does not talk to systemd when SYSTEMD_OFFLINE is set, also from
# packages' scripts; a policy-rc.d would have to be put on the host and taken away again.
apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 apt-get -q -o DPkg::Lock::Timeout=600 "$@" >&2
}

apt_update() {
	[ -z "$apt_updated" ] || return 0
	say "updating the package lists"
	local try
	for try in 1 2 3; do
		if apt_get update; then
			apt_updated=yes
			return 0
		fi
		# apt does not wait for the lock of the lists as it does for dpkg's.
		if [ "$try" -lt 3 ]; then sleep 5; fi
	done
	die "apt-get update failed"
}

# known is true if all packages are in the package lists and can be installed.
known() {
	local p policy
	for p in "$@"; do
		policy=$(LC_ALL=C apt-cache policy "$p" 2>/dev/null)
		case $policy in
		*'Candidate: (none)'*) return 1 ;;
		*'Candidate: '*) ;;
		*) return 1 ;;
		esac
	done
}

by_hand() {
	say "these packages are missing: ${missing_packages[*]}"
	if is_debian; then
		say "as root, run: apt-get update && apt-get install --no-install-recommends ${missing_packages[*]}"
	else
		say "this is not Debian or Ubuntu: install your distribution's packages with"
		say "  qemu-system-$arch, qemu-img, gcc and the C library's headers, and a static busybox"
		if [ -n "$tests" ]; then say "  and for the tests libvirtd with its QEMU driver, and virsh"; fi
	fi
	die "then run this script again"
}

install_packages() {
	[ ${#missing_packages[@]} -gt 0 ] || return 0
	if ! is_debian || ! can_be_root; then
		by_hand
	fi
	known "${missing_packages[@]}" || apt_update
	say "installing ${missing_packages[*]}"
	local before
	before=$(libvirt_units)
	if ! apt_get install -y --no-install-recommends "${missing_packages[@]}"; then
		apt_update # the lists may name versions that the servers no longer have
		apt_get install -y --no-install-recommends "${missing_packages[@]}" || die "apt-get install failed"
	fi
	disable_new "$before"
}

libvirt_units() {
	find /usr/lib/systemd/system \( -name 'libvirt*' -o -name 'virtlo*' \) -type f -printf '%f\n' 2>/dev/null | sort || true
}

# disable_new undoes that packages have enabled libvirt's services at boot (Debian 13; in
# Debian 12 and Ubuntu 24.04 those that the tests need have none). Units that were there
# before, which $1 lists, are somebody's.
disable_new() {
	local units=()
	mapfile -t units < <(comm -13 <(printf '%s\n' "$1") <(libvirt_units))
	[ ${#units[@]} -gt 0 ] && have systemctl || return 0
	say "leaving ${units[*]} disabled: the tests run a libvirtd of their own"
	as_root env SYSTEMD_OFFLINE=1 systemctl --quiet disable "${units[@]}" >&2
}

has_kernel() {
	local f
	if [ -n "${MAQET_KERNEL:-}" ]; then
		[ -r "$MAQET_KERNEL" ] || die "MAQET_KERNEL is $MAQET_KERNEL, which can't be read"
		return 0
	fi
	for f in "$kernel_dir"/*/boot/vmlinuz-*; do
		if [ -r "$f" ]; then return 0; fi
	done
	return 1
}

host_kernel() {
	local f
	for f in /boot/vmlinuz-*; do
		if [ -r "$f" ]; then return 0; fi
	done
	return 1
}

# kernel_packages prints the packages that hold the newest kernel and its modules.
kernel_packages() {
	local m image
	for m in "${meta[@]}"; do
		known "$m" || continue
		image=$(depends "$m" | sed -nE '/^linux-image-(unsigned-)?[0-9]/p')
		image=${image%%$'\n'*}
		[ -n "$image" ] || continue
		echo "$image"
		# Ubuntu has the modules in packages of their own.
		depends "$image" "$m" | sed -nE '/^linux-modules(-extra)?-[0-9]/p' | sort -u
		return 0
	done
	return 1
}

depends() { LC_ALL=C apt-cache depends --important "$@" 2>/dev/null | sed -n 's/^ *|*Depends: \([^<]*\)$/\1/p'; }

kernel_by_hand() {
	say "a guest kernel is missing, and $1"
	if is_debian; then
		say "as root, run: apt-get update"
	else
		say "set MAQET_KERNEL to the path of a kernel that you can read (a bzImage or vmlinux)"
	fi
	die "then run this script again"
}

# download fetches packages into the present folder. It needs no root rights.
download() {
	local sandbox=()
	# root's temporary folder can't be read by apt's own user.
	if [ "$(id -u)" -eq 0 ]; then sandbox=(-o APT::Sandbox::User=root); fi
	apt-get -q "${sandbox[@]}" download "$@" >&2
}

# one_at_a_time waits for other runs by the same user.
one_at_a_time() {
	(umask 077 && mkdir -p "$cache_dir")
	exec 9>"$cache_dir/setup.lock"
	if have flock; then flock 9; fi
}

get_kernel() {
	has_kernel && return 0
	if ! is_debian; then
		host_kernel && return 0
		kernel_by_hand "only Debian and Ubuntu have one that this script knows how to get"
	fi
	local packages
	if ! packages=$(kernel_packages); then
		can_be_root || kernel_by_hand "the package lists, which root has to update, have none"
		apt_update
		packages=$(kernel_packages) || die "no package of ${meta[*]} is available"
	fi
	# shellcheck disable=SC2086 # a list of words
	set -- $packages
	unpack "$@"
	place_kernel
}

# unpack downloads packages and unpacks them to $tmp/root.
unpack() {
	cleanup
	tmp=$(mktemp -d "$cache_dir/setup.XXXXXX")
	say "downloading $*"
	(
		mkdir "$tmp/deb" "$tmp/root"
		cd "$tmp/deb"
		download "$@" || { can_be_root && apt_update && download "$@"; } || die "apt-get download failed"
		for deb in *.deb; do dpkg-deb -x "$deb" "$tmp/root"; done
	)
}

has_agent() { have qemu-ga || [ -x /usr/sbin/qemu-ga ] || [ -x "$agent_dir/usr/sbin/qemu-ga" ]; }

# get_agent gets the guest agent that tests run on the host. Installing it would start
# a service where the host is a virtual machine itself.
get_agent() {
	has_agent && return 0
	is_debian || die "the tests need qemu-ga: install your distribution's qemu-guest-agent, then run this script again"
	known qemu-guest-agent || { can_be_root && apt_update; } ||
		die "the package lists have no qemu-guest-agent; as root, run apt-get update, then this script again"
	unpack qemu-guest-agent
	(umask 077 && mkdir -p "${agent_dir%/*}")
	mv -T -- "$tmp/root" "$agent_dir"
	say "unpacked qemu-guest-agent to $agent_dir"
}

# place_kernel moves what was unpacked to its place, in one step.
place_kernel() {
	local image version
	image=$(find "$tmp/root/boot" -name 'vmlinuz-*' -print -quit)
	[ -n "$image" ] || die "the package holds no kernel"
	version=${image##*/vmlinuz-}
	rm -rf -- "$tmp/root/usr/share"
	chmod -R u+rwX "$tmp/root"
	(umask 077 && mkdir -p "$kernel_dir")
	mv -T -- "$tmp/root" "$kernel_dir/$version"
	say "unpacked kernel $version to $kernel_dir/$version"
}

# check_go compares Go's version with the one in go.mod. Go that is older but knows
# toolchains gets the right one by itself.
check_go() {
	local want now
	want=$(sed -n 's/^go //p' "$root/go.mod")
	have go || die "Go $want or newer is missing: get it from $go_url"
	now=$(cd "$root" && go env GOVERSION 2>/dev/null) || now=$(go version | cut -d ' ' -f 3)
	now=${now#go}
	if [ "$(printf '%s\n' "$want" "${now%% *}" | sort -V | head -n 1)" != "$want" ]; then
		die "Go $now is too old, $want or newer is needed: get it from $go_url"
	fi
}

check() {
	local status=0
	if [ ${#missing_packages[@]} -gt 0 ]; then
		say "missing packages: ${missing_packages[*]}"
		status=1
	fi
	if ! has_kernel && { is_debian || ! host_kernel; }; then
		say "missing: a guest kernel in $kernel_dir"
		status=1
	fi
	(check_go) || status=1
	exit "$status"
}

main() {
	trap cleanup EXIT
	platform
	case ${1:-} in
	--test) tests=yes ;;
	--check | '') ;;
	*) die "unknown argument '$1'; usage: scripts/setup.sh [--test|--check]" ;;
	esac
	find_missing
	if [ "${1:-}" = --check ]; then check; fi
	if [ ${#missing_packages[@]} -gt 0 ] || ! has_kernel || { [ -n "$tests" ] && ! has_agent; }; then
		one_at_a_time
		find_missing
		install_packages
		get_kernel
		[ -z "$tests" ] || get_agent
	fi
	check_go
}

main "$@"
