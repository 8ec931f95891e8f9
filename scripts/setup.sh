#!/usr/bin/env bash
# Installs what maqet needs on Debian and Ubuntu: QEMU, a C compiler (for go-sqlite3), a
# static busybox and a guest kernel. It says each thing it does, and nothing when
# there is nothing to do.
#
#   scripts/setup.sh               do it
#   scripts/setup.sh --arch ARCH   and get what guests of that architecture need: x86_64,
#                                  aarch64 or riscv64; can be given several times
#   scripts/setup.sh --test        and get what only the tests need: all three, other
#                                  firmware, libvirt, helper programs, a Debian disk image
#   scripts/setup.sh --check       only report what is missing; exit status 1 if anything
#                                  is; can be given with the others
#
# Kernels, programs of other architectures, qemu-guest-agent and sshd are not installed, only
# unpacked below the cache folder, ${XDG_CACHE_HOME:-~/.cache}/maqet; see scripts/unpack.sh:
#   kernels/ARCH/VERSION/{boot,lib/modules}
#   kernels-full/ARCH/VERSION/...   the tests' second kernel, with drivers for hardware
#   tools/busybox/ARCH/busybox
#   tools/qemu-guest-agent
#   tools/openssh-server
set -euo pipefail

readonly go_url=https://go.dev/dl
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
tmp=
tests=
check_only=
arches=() # of guests that are not like the host
missing_packages=()
apt_updated=
# root's temporary folder can't be read by apt's own user.
sandbox=()
if [ "$(id -u)" -eq 0 ]; then sandbox=(-o APT::Sandbox::User=root); fi
# Of the apt that is asked for packages: the host's, or see private_apt.
apt_options=("${sandbox[@]}")
private=()

# shellcheck source-path=SCRIPTDIR source=unpack.sh
source "$root/scripts/unpack.sh"

say() { printf 'setup: %s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

cleanup() {
	local job
	for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done
	wait || true
	if [ -n "$tmp" ]; then rm -rf -- "$tmp"; fi
}

# platform sets arch (QEMU's name of the host's) and cache_dir.
platform() {
	arch=$(uname -m)
	case $arch in
	x86_64 | aarch64) ;;
	*) die "$arch is not supported: only x86_64 and aarch64 hosts are" ;;
	esac
	local cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}
	[ "${cache#/}" != "$cache" ] || die "XDG_CACHE_HOME must be an absolute path, it is '$cache'"
	cache_dir=$cache/maqet
}

# qemu_package prints the package of the QEMU for an architecture's guests.
qemu_package() {
	case $1 in
	x86_64) echo qemu-system-x86 ;;
	aarch64) echo qemu-system-arm ;;
	# One of its own from Debian 13 on.
	*) if is_debian && known "qemu-system-riscv"; then echo qemu-system-riscv; else echo qemu-system-misc; fi ;;
	esac
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
	local a
	for a in "$arch" "${arches[@]}"; do
		have "qemu-system-$a" || missing_packages+=("$(qemu_package "$a")")
	done
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
	if [ -n "$tests" ]; then
		find_missing_libvirt
		find_missing_helpers
	fi
	mapfile -t missing_packages < <(printf '%s\n' "${missing_packages[@]}" | sort -u | sed '/^$/d')
}

# find_missing_helpers adds what guests of tests are given: firmware, and programs that run
# beside QEMU or build its images. A need is a program, or files one of which must be there.
find_missing_helpers() {
	local need package
	while read -r package need; do
		have "$need" || compgen -G "$need" >/dev/null || missing_packages+=("$package")
	done <<-'END'
		ovmf /usr/share/OVMF/OVMF_CODE*.fd
		qemu-efi-aarch64 /usr/share/AAVMF/AAVMF_CODE*.fd
		swtpm swtpm
		swtpm-tools swtpm_setup
		passt passt
		iproute2 ip
		openssh-client ssh-keygen
		qemu-utils qemu-io
		qemu-system-common qemu-storage-daemon
		e2fsprogs /sbin/mkfs.ext4
		mount /sbin/losetup
		mtools mformat
	END
	# It comes with QEMU, and from Debian 13 and Ubuntu 24.04 on in a package of its own, which
	# others do not have: QEMU has to be there to tell.
	if have "qemu-system-$arch" && ! have virtiofsd && ! [ -x /usr/lib/qemu/virtiofsd ] && ! [ -x /usr/libexec/virtiofsd ]; then
		missing_packages+=(virtiofsd)
	fi
	if [ -x "$root/scripts/debian-image.sh" ]; then
		mapfile -t -O ${#missing_packages[@]} missing_packages < <("$root/scripts/debian-image.sh" --check || true)
	fi
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
		policy=$(LC_ALL=C apt-cache "${apt_options[@]}" policy "$p" 2>/dev/null)
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
		say "  and qemu-system-ARCH of each of: ${arches[*]:-}"
		if [ -n "$tests" ]; then say "  and for the tests what has the packages' contents in Debian"; fi
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

# one_at_a_time waits for other runs by the same user.
one_at_a_time() {
	(umask 077 && mkdir -p "$cache_dir")
	exec 9>"$cache_dir/setup.lock"
	if have flock; then flock 9; fi
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

# unpacked is true if all that is to be unpacked is there.
unpacked() {
	local a
	has_kernel "$arch" || { ! is_debian && host_kernel; } || return 1
	for a in "${arches[@]}"; do
		has_kernel "$a" && has_busybox "$a" || return 1
	done
	[ -z "$tests" ] || { has_agent && has_sshd && has_image "$cache_dir/kernels-full/$arch" && has_disk_image; }
}

has_disk_image() {
	[ ! -x "$root/scripts/debian-image.sh" ] || [ -r "$("$root/scripts/debian-image.sh" --path)" ]
}

# get_unpacked gets them side by side: most of the time goes into unpacking.
get_unpacked() {
	local a job failed='' jobs=()
	tmp=$(mktemp -d "$cache_dir/setup.XXXXXX")
	get_kernel # may have to update the package lists, which the others then have
	if [ -n "$tests" ] || [ ${#arches[@]} -gt 0 ]; then
		is_debian || die "only for Debian and Ubuntu this script knows where the kernels of other architectures and the tests' are"
	fi
	for a in "${arches[@]}"; do
		get_foreign "$a" &
		jobs+=($!)
	done
	if [ -n "$tests" ]; then
		get_agent
		get_sshd
		get_full_kernel &
		jobs+=($!)
		if ! has_disk_image; then
			"$root/scripts/debian-image.sh" >/dev/null &
			jobs+=($!)
		fi
	fi
	for job in "${jobs[@]}"; do wait "$job" || failed=yes; done
	[ -z "$failed" ] || die "not everything could be got"
}

check() {
	local status=0 a
	if [ ${#missing_packages[@]} -gt 0 ]; then
		say "missing packages: ${missing_packages[*]}"
		status=1
	fi
	if ! unpacked; then
		say "missing: kernels or programs below $cache_dir"
		status=1
	fi
	(check_go) || status=1
	exit "$status"
}

arguments() {
	local a
	while [ $# -gt 0 ]; do
		case $1 in
		--test) tests=yes arches+=(x86_64 aarch64 riscv64) ;;
		--check) check_only=yes ;;
		--arch)
			case ${2:-} in
			x86_64 | aarch64 | riscv64) arches+=("$2") ;;
			*) die "--arch needs one of x86_64, aarch64, riscv64" ;;
			esac
			shift
			;;
		*) die "unknown argument '$1'; usage: scripts/setup.sh [--check] [--test] [--arch ARCH]..." ;;
		esac
		shift
	done
	# The host's own is there anyway.
	mapfile -t arches < <(printf '%s\n' "${arches[@]}" | sed "/^$arch\$/d; /^\$/d" | sort -u)
}

main() {
	trap cleanup EXIT
	platform
	arguments "$@"
	find_missing
	if [ -n "$check_only" ]; then check; fi
	if [ ${#missing_packages[@]} -gt 0 ] || ! unpacked; then
		one_at_a_time
		find_missing
		install_packages
		find_missing # what QEMU came without
		install_packages
		unpacked || get_unpacked
	fi
	check_go
}

main "$@"
