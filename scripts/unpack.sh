# shellcheck shell=bash
# What setup.sh unpacks below the cache folder, without installing it: guests' kernels and
# programs, qemu-guest-agent and sshd. Sourced by setup.sh, which has the functions that are
# called but not here, and their variables.
# shellcheck disable=SC2154

# deb_arch prints Debian's name of an architecture.
deb_arch() {
	case $1 in
	x86_64) echo amd64 ;;
	aarch64) echo arm64 ;;
	*) echo "$1" ;;
	esac
}

# metas prints the kernel packages to try for an architecture, best first.
metas() {
	local deb
	deb=$(deb_arch "$1")
	echo "linux-image-cloud-$deb linux-image-virtual linux-image-generic linux-image-$deb"
}

# has_image is true if a kernel is unpacked below a folder.
has_image() {
	local f
	for f in "$1"/*/boot/vmlinu[xz]-*; do
		if [ -r "$f" ]; then return 0; fi
	done
	return 1
}

# has_kernel is true if guests of an architecture have a kernel.
has_kernel() {
	if [ -n "${MAQET_KERNEL:-}" ] && [ "$1" = "$arch" ]; then
		[ -r "$MAQET_KERNEL" ] || die "MAQET_KERNEL is $MAQET_KERNEL, which can't be read"
		return 0
	fi
	has_image "$cache_dir/kernels/$1"
}

has_busybox() { [ -x "$cache_dir/tools/busybox/$1/busybox" ]; }

has_agent() { have qemu-ga || [ -x /usr/sbin/qemu-ga ] || [ -x "$cache_dir/tools/qemu-guest-agent/usr/sbin/qemu-ga" ]; }

has_sshd() { [ -x /usr/sbin/sshd ] || [ -x "$cache_dir/tools/openssh-server/usr/sbin/sshd" ]; }

host_kernel() {
	local f
	for f in /boot/vmlinu[xz]-*; do
		if [ -r "$f" ]; then return 0; fi
	done
	return 1
}

# kernel_packages prints the packages that hold the newest kernel of one of the packages
# that are given, and its modules.
kernel_packages() {
	local m image
	for m in "$@"; do
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

depends() {
	LC_ALL=C apt-cache "${apt_options[@]}" depends --important "$@" 2>/dev/null |
		sed -n 's/^ *|*Depends: \([^<:]*\).*$/\1/p'
}

kernel_by_hand() {
	say "a guest kernel is missing, and $1"
	if is_debian; then
		say "as root, run: apt-get update"
	else
		say "set MAQET_KERNEL to the path of a kernel that you can read (a bzImage or vmlinux)"
	fi
	die "then run this script again"
}

# unpack downloads packages, which needs no root rights, and unpacks them to $1/root.
unpack() {
	local dir=$1
	shift
	say "downloading $*"
	mkdir -p "$dir/deb" "$dir/root"
	(
		cd "$dir/deb" || exit
		apt-get -qq "${apt_options[@]}" download "$@" >&2 ||
			{ [ ${#private[@]} -eq 0 ] && can_be_root && apt_update && apt-get -qq "${apt_options[@]}" download "$@" >&2; } ||
			die "apt-get download failed"
		for deb in *.deb; do dpkg-deb -x "$deb" "$dir/root"; done
	)
}

# place moves what was unpacked to its place, in one step.
place() {
	chmod -R u+rwX "$1"
	(umask 077 && mkdir -p "${2%/*}")
	# Another run may have been faster, where flock is missing.
	[ -e "$2" ] || mv -T -- "$1" "$2"
	say "unpacked ${2#"$cache_dir"/} below $cache_dir"
}

# place_kernel moves the kernel that was unpacked to $1/root to a folder of $2.
place_kernel() {
	local image version
	image=$(find "$1/root/boot" -name 'vmlinu[xz]-*' -print -quit)
	[ -n "$image" ] || die "the package holds no kernel"
	version=${image##*/vmlinu[xz]-}
	rm -rf -- "$1/root/usr/share"
	place "$1/root" "$2/$version"
}

# get_kernel gets a kernel for guests like the host.
get_kernel() {
	has_kernel "$arch" && return 0
	if ! is_debian; then
		host_kernel && return 0
		kernel_by_hand "only Debian and Ubuntu have one that this script knows how to get"
	fi
	# shellcheck disable=SC2046 # lists of words
	unpack_kernel kernels $(metas "$arch")
}

# get_full_kernel gets the kernel that has drivers for real hardware, too. It lies where
# maqet does not look: tests that need such a driver name it.
get_full_kernel() {
	has_image "$cache_dir/kernels-full/$arch" && return 0
	unpack_kernel kernels-full "linux-image-$(deb_arch "$arch")" linux-image-generic
}

# unpack_kernel gets the first kernel that there is of the packages from $2 on.
unpack_kernel() {
	local place=$1 packages
	shift
	if ! packages=$(kernel_packages "$@"); then
		can_be_root || kernel_by_hand "the package lists, which root has to update, have none"
		apt_update
		packages=$(kernel_packages "$@") || die "no package of $* is available"
	fi
	# shellcheck disable=SC2086 # a list of words
	unpack "$tmp/$place" $packages
	place_kernel "$tmp/$place" "$cache_dir/$place/$arch"
}

# get_agent gets the guest agent that tests run on the host. Installing it would start
# a service where the host is a virtual machine itself.
get_agent() {
	has_agent && return 0
	known qemu-guest-agent || { can_be_root && apt_update; } ||
		die "the package lists have no qemu-guest-agent; as root, run apt-get update, then this script again"
	unpack "$tmp/agent" qemu-guest-agent
	place "$tmp/agent/root" "$cache_dir/tools/qemu-guest-agent"
}

# get_sshd gets the SSH server of the tests' libvirt hosts, with the one library of it that
# others don't have. Installing it would let people in.
get_sshd() {
	has_sshd && return 0
	known openssh-server libwrap0 || { can_be_root && apt_update; } ||
		die "the package lists have no openssh-server; as root, run apt-get update, then this script again"
	unpack "$tmp/sshd" openssh-server libwrap0
	place "$tmp/sshd/root" "$cache_dir/tools/openssh-server"
}

# get_foreign gets a kernel and busybox for guests of another architecture than the
# host's, whose packages the host's apt does not know: it has an apt of its own, with
# lists in the temporary folder, and the host's is not touched. Suites are tried until one
# has the architecture's kernel.
get_foreign() {
	has_kernel "$1" && has_busybox "$1" && return 0
	local suite packages='' dir=$tmp/$1 private=() apt_options=()
	for suite in $(foreign_suites); do
		private_apt "$1" "$suite"
		# shellcheck disable=SC2046 # a list of words
		if packages=$(kernel_packages $(metas "$1")) && known busybox-static; then break; fi
		packages=
	done
	[ -n "$packages" ] || die "no kernel for $1 is to be had from $(foreign_mirror "$1")"
	if ! has_kernel "$1"; then
		# shellcheck disable=SC2086 # a list of words
		unpack "$dir/kernel" $packages
		place_kernel "$dir/kernel" "$cache_dir/kernels/$1"
	fi
	if has_busybox "$1"; then return 0; fi
	unpack "$dir/busybox" busybox-static
	mkdir "$dir/tools"
	find "$dir/busybox/root" -path '*bin/busybox' -type f -exec mv -t "$dir/tools" {} +
	[ -x "$dir/tools/busybox" ] || die "busybox-static for $1 holds no busybox"
	place "$dir/tools" "$cache_dir/tools/busybox/$1"
}

is_ubuntu() { [ "$(. /etc/os-release && echo "${ID:-}")" = ubuntu ]; }

# foreign_suites prints the releases to try: the host's own, then, since Debian 12 has no
# riscv64, the next one and the one that is always there.
foreign_suites() {
	local own
	own=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	if is_ubuntu; then
		echo "$own"
		return 0
	fi
	printf '%s\n' "$own" trixie sid | awk 'NF && !seen[$0]++'
}

# foreign_mirror prints where an architecture's packages are: where the host gets its own
# from, but Ubuntu has most architectures on servers of their own.
foreign_mirror() {
	local own
	if is_ubuntu && [ "$1" = x86_64 ]; then
		echo http://archive.ubuntu.com/ubuntu
		return 0
	elif is_ubuntu; then
		echo http://ports.ubuntu.com/ubuntu-ports
		return 0
	fi
	# shellcheck disable=SC2016 # apt fills it in
	own=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
		sed -nE 's/^Debian main [a-z]+ //p') || true
	own=${own%%$'\n'*}
	echo "${own:-http://deb.debian.org/debian}"
}

# private_apt sets apt_options to an apt for an architecture's packages of a suite, and
# gets their lists. What is configured about proxies holds for it, too.
private_apt() {
	local deb dir=$tmp/$1/apt-$2 keyring signed=
	deb=$(deb_arch "$1")
	for keyring in /usr/share/keyrings/{debian,ubuntu}-archive-keyring.gpg; do
		case $keyring in
		*ubuntu*) is_ubuntu || continue ;;
		*) ! is_ubuntu || continue ;;
		esac
		if [ -r "$keyring" ]; then signed=" signed-by=$keyring"; fi
	done
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	: >"$dir/status"
	echo "deb [arch=$deb target=Packages$signed] $(foreign_mirror "$1") $2 main" >"$dir/sources.list"
	private=(
		-o Dir::State="$dir" -o Dir::State::lists="$dir/lists" -o Dir::State::status="$dir/status"
		-o Dir::Cache="$dir/cache" -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=-
		-o APT::Architecture="$deb" -o APT::Architectures="$deb" -o Acquire::Languages=none -o Acquire::Retries=3
	)
	apt_options=("${sandbox[@]}" "${private[@]}")
	say "reading what $(foreign_mirror "$1") has for $1 in $2"
	apt-get -qq "${apt_options[@]}" update >&2 || say "that failed"
}
