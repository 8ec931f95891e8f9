#!/usr/bin/env bash
# Builds a disk image with a minimal Debian 12: systemd, the QEMU guest agent, an ssh server
# and cloud-init. It boots by SeaBIOS (syslinux) and by UEFI (a unified kernel image), from
# a virtio, SCSI or NVMe disk, with its console on the first serial port. Nothing is mounted,
# and no rights of root are needed where user namespaces work.
#
#   scripts/debian-image.sh           build it, unless that was done before; print its path
#   scripts/debian-image.sh --path    only print its path
#   scripts/debian-image.sh --check   print which programs are missing; exit status 1 if any is
#
# The image is ${XDG_CACHE_HOME:-~/.cache}/maqet/images/debian-12-amd64-HASH.qcow2, where HASH
# is that of this script. Use it as a base: it is never to be written.
#
# The guest takes its addresses by DHCP, makes an ssh host key at its first boot, and lets
# nobody log in: root's password is locked. cloud-init only runs when it finds a seed: it is
# slow where the processor is emulated, so modules that do nothing in such a guest are off.
set -euo pipefail

readonly suite=bookworm
readonly size_mib=2048 esp_mib=96
# In the partition table and on the kernel's command line.
readonly root_uuid=3d0b5e2c-7f0a-4d55-9f5d-6a1c2f1f9a10
readonly packages=(
	systemd-sysv udev dbus kmod iproute2 netbase initramfs-tools zstd linux-image-cloud-amd64
	qemu-guest-agent openssh-server cloud-init sudo systemd-boot-efi ca-certificates
)
# Not "quiet": what systemd prints is a sign of life, and the reason when a boot fails.
readonly cmdline="root=PARTUUID=$root_uuid rw console=ttyS0 loglevel=4 net.ifnames=0 cryptomgr.notests random.trust_cpu=on"

PATH=$PATH:/usr/sbin:/sbin # where not only root finds programs
self=$(readlink -f -- "${BASH_SOURCE[0]}")
readonly self
tmp=

say() { printf 'debian-image: %s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

cleanup() {
	if [ -n "$tmp" ]; then rm -rf -- "$tmp"; fi
}

# missing prints the Debian packages of programs and files that are not there.
missing() {
	local need
	for need in mmdebstrap:mmdebstrap mcopy:mtools mkfs.vfat:dosfstools syslinux:syslinux objcopy:binutils \
		mke2fs:e2fsprogs sfdisk:fdisk qemu-img:qemu-utils flock:util-linux \
		/usr/lib/SYSLINUX/gptmbr.bin:syslinux-common /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring; do
		command -v "${need%%:*}" >/dev/null 2>&1 || [ -r "${need%%:*}" ] || echo "${need#*:}"
	done
	if [ "$(id -u)" -ne 0 ]; then
		command -v fakeroot >/dev/null 2>&1 || echo fakeroot
		command -v newuidmap >/dev/null 2>&1 || echo uidmap
	fi
}

# mirrors prints what apt on this host has for the suite, or Debian's own servers.
mirrors() {
	local list
	# shellcheck disable=SC2016 # apt fills it in
	list=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
		sort -u | sed -nE "s/^([^ ]+) ($suite|$suite-updates|$suite-security) main\$/deb \\1 \\2 main/p") || true
	case $list in
	*" $suite main"*) ;;
	*)
		list="deb http://deb.debian.org/debian $suite main
deb http://deb.debian.org/debian-security $suite-security main"
		;;
	esac
	printf '%s\n' "$list"
}

# root_tree makes $tmp/root.tar. Packages are set up by mmdebstrap, in a user namespace
# where the caller is not root.
root_tree() {
	mirrors >"$tmp/sources.list"
	# Proxies and the like.
	apt-config dump Acquire::http Acquire::https >"$tmp/apt.conf" 2>/dev/null || : >"$tmp/apt.conf"
	printf 'Acquire::Retries "5";\nAcquire::Languages "none";\n' >>"$tmp/apt.conf"
	# root's folders can't be read by apt's own user.
	if [ "$(id -u)" -eq 0 ]; then echo 'APT::Sandbox::User "root";' >>"$tmp/apt.conf"; fi
	write_overlay
	local include quoted
	quoted=$(printf '%q' "$tmp") # a hook is read as a shell reads words
	include=$(IFS=,; echo "${packages[*]}")
	# The essential packages' hook makes /usr merged, as the installer does.
	# shellcheck disable=SC2016 # the hooks' shell fills it in
	mmdebstrap --quiet --variant=essential --architectures=amd64 --include="$include" \
		--aptopt="$tmp/apt.conf" --aptopt='Apt::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
		--essential-hook="tar-in $quoted/early.tar /" \
		--customize-hook="tar-in $quoted/overlay.tar /" \
		--customize-hook='chroot "$1" /usr/local/sbin/finish-image' \
		--customize-hook='rm "$1/usr/local/sbin/finish-image"' \
		"$suite" "$tmp/root.tar" - <"$tmp/sources.list" >&2
}

# file writes standard input to a file of the tree below $tmp/$1.
file() {
	mkdir -p "$tmp/$1$(dirname "$2")"
	cat >"$tmp/$1$2"
	chmod "${3:-644}" "$tmp/$1$2"
}

# write_overlay makes the archives that are unpacked over the packages' files: early.tar before
# the kernel is installed, overlay.tar at the end.
write_overlay() {
	# Only what can hold a root file system here, so that the initial RAM disk is small.
	file early /etc/initramfs-tools/conf.d/maqet <<-'END'
		MODULES=list
		COMPRESS=zstd
		RUNSIZE=20%
	END
	file early /etc/initramfs-tools/modules <<-'END'
		virtio_pci
		virtio_blk
		virtio_scsi
		sd_mod
		nvme
		ext4
	END
	file early /etc/kernel-img.conf <<<'do_symlinks = no'
	configure_system
	configure_cloud_init
	tar -C "$tmp/early" --owner=0 --group=0 -cf "$tmp/early.tar" .
	tar -C "$tmp/overlay" --owner=0 --group=0 -cf "$tmp/overlay.tar" .
}

configure_system() {
	file overlay /etc/fstab <<<'# The kernel mounts the root file system; see its command line.'
	file overlay /etc/hostname <<<debian
	file overlay /etc/hosts <<<'127.0.0.1 localhost'
	file overlay /etc/systemd/network/80-dhcp.network <<-'END'
		[Match]
		Name=en* eth*
		[Network]
		DHCP=yes
	END
	# That of QEMU's user network; systemd-resolved, which would ask DHCP, starts for seconds.
	file overlay /etc/resolv.conf <<<'nameserver 10.0.2.3'
	# Loaded because the CPU has them, each costs an emulated boot time.
	file overlay /etc/modprobe.d/maqet.conf < <(printf 'blacklist %s\n' kvm kvm_amd kvm_intel aesni_intel \
		crct10dif_pclmul crc32_pclmul ghash_clmulni_intel sha512_ssse3 sha256_ssse3 sha1_ssse3 serio_raw)
	# A boot goes on without a network: guests may have none.
	file overlay /etc/systemd/system/systemd-networkd-wait-online.service.d/any.conf <<-'END'
		[Service]
		ExecStart=
		ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=30
	END
	# Each guest has a key of its own; making an RSA one takes many seconds on an emulated CPU.
	file overlay /etc/ssh/sshd_config.d/maqet.conf <<-'END'
		HostKey /etc/ssh/ssh_host_ed25519_key
		PasswordAuthentication no
	END
	file overlay /etc/systemd/system/ssh.service.d/hostkey.conf <<-'END'
		[Service]
		ExecStartPre=
		ExecStartPre=/bin/sh -c '[ -s /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key'
		ExecStartPre=/usr/sbin/sshd -t
	END
	# A guest whose processor is emulated, on a host that has much to do, is no broken one.
	file overlay /etc/systemd/system.conf.d/maqet.conf <<-'END'
		[Manager]
		DefaultTimeoutStartSec=10min
		DefaultDeviceTimeoutSec=10min
		DefaultTimeoutStopSec=30s
	END
	file overlay /usr/local/sbin/finish-image 755 <<-'END'
		#!/bin/sh
		set -e
		passwd -l root >/dev/null
		systemctl --quiet enable systemd-networkd ssh qemu-guest-agent 2>/dev/null || :
		systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
			e2scrub_reap.service fstrim.timer systemd-pstore.service systemd-binfmt.service getty@tty1.service \
			proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
			sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
			modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@fuse.service \
			modprobe@loop.service systemd-network-generator.service cloud-config.service cloud-init-hotplugd.socket
		rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /var/lib/systemd/random-seed
		rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/log/*.log /var/log/apt
		: >/etc/machine-id
	END
}

configure_cloud_init() {
	# Two real data sources: of a single one cloud-init would assume that it is there. The
	# modules of the stage "config" are in "init": each stage starts Python, which takes most of
	# the time on an emulated CPU.
	file overlay /etc/cloud/cloud.cfg.d/90_maqet.cfg <<-'END'
		datasource_list: [ NoCloud, ConfigDrive ]
		ssh_genkeytypes: [ ed25519 ]
		disable_root: false
		users: []
		manage_etc_hosts: true
		cloud_init_modules: [ bootcmd, write-files, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh,
		  set-passwords, timezone, runcmd ]
		cloud_config_modules: []
		cloud_final_modules: [ package-update-upgrade-install, write-files-deferred, scripts-per-once, scripts-per-boot,
		  scripts-per-instance, scripts-user, final-message ]
	END
	file overlay /etc/cloud/ds-identify.cfg <<<'policy: search,found=first,maybe=none,notfound=disabled'
}

# file_system makes $tmp/root.ext4 from the tree, and takes the kernel and its RAM disk out.
file_system() {
	mkdir "$tmp/tree"
	tar -C "$tmp/tree" --numeric-owner -xf "$tmp/root.tar" --exclude='./dev/*'
	cp "$tmp"/tree/boot/vmlinuz-* "$tmp/vmlinuz"
	cp "$tmp"/tree/boot/initrd.img-* "$tmp/initrd.img"
	cp "$tmp/tree/usr/lib/systemd/boot/efi/linuxx64.efi.stub" "$tmp/stub.efi"
	cp "$tmp/tree/usr/lib/os-release" "$tmp/os-release"
	rm -rf -- "$tmp"/tree/boot/vmlinuz-* "$tmp"/tree/boot/initrd.img-*
	truncate -s "$((size_mib - esp_mib - 2))M" "$tmp/root.ext4"
	mke2fs -q -t ext4 -L root -d "$tmp/tree" -E hash_seed="$root_uuid" "$tmp/root.ext4"
}

# as_owner runs one of the functions above so that files keep their owners.
as_owner() {
	if [ "$(id -u)" -eq 0 ]; then
		"$1"
	else
		fakeroot -- "$self" --step "$1" "$tmp"
	fi
}

# boot_partition makes $tmp/esp.fat: syslinux and a kernel for the BIOS, and the same kernel as
# a program for UEFI. Where the sections lie is what systemd-stub(7) shows.
boot_partition() {
	printf '%s' "$cmdline" >"$tmp/cmdline"
	objcopy --add-section .osrel="$tmp/os-release" --change-section-vma .osrel=0x20000 \
		--add-section .cmdline="$tmp/cmdline" --change-section-vma .cmdline=0x30000 \
		--add-section .linux="$tmp/vmlinuz" --change-section-vma .linux=0x2000000 \
		--add-section .initrd="$tmp/initrd.img" --change-section-vma .initrd=0x3000000 \
		"$tmp/stub.efi" "$tmp/bootx64.efi"
	printf 'DEFAULT linux\nPROMPT 0\nTIMEOUT 0\nLABEL linux\n  KERNEL /vmlinuz\n  INITRD /initrd.img\n  APPEND %s\n' \
		"$cmdline" >"$tmp/syslinux.cfg"
	truncate -s "${esp_mib}M" "$tmp/esp.fat"
	mkfs.vfat -n ESP "$tmp/esp.fat" >/dev/null
	mmd -i "$tmp/esp.fat" ::/EFI ::/EFI/BOOT
	mcopy -i "$tmp/esp.fat" "$tmp/vmlinuz" "$tmp/initrd.img" "$tmp/syslinux.cfg" ::/
	mcopy -i "$tmp/esp.fat" "$tmp/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
	syslinux --install "$tmp/esp.fat"
}

# disk puts the parts together, in $tmp/disk.qcow2.
disk() {
	truncate -s "${size_mib}M" "$tmp/disk.raw"
	sfdisk --quiet "$tmp/disk.raw" <<-END
		label: gpt
		start=1MiB, size=${esp_mib}MiB, type=uefi, name=esp, attrs=LegacyBIOSBootable
		start=$((esp_mib + 1))MiB, size=$((size_mib - esp_mib - 2))MiB, type=linux, name=root, uuid=$root_uuid
	END
	dd if=/usr/lib/SYSLINUX/gptmbr.bin of="$tmp/disk.raw" bs=440 count=1 conv=notrunc status=none
	dd if="$tmp/esp.fat" of="$tmp/disk.raw" bs=1M seek=1 conv=notrunc,sparse status=none
	dd if="$tmp/root.ext4" of="$tmp/disk.raw" bs=1M seek="$((esp_mib + 1))" conv=notrunc,sparse status=none
	qemu-img convert -q -f raw -O qcow2 -c -o compression_type=zstd "$tmp/disk.raw" "$tmp/disk.qcow2"
}

build() {
	local packages_missing
	packages_missing=$(missing | sort -u | tr '\n' ' ')
	[ -z "$packages_missing" ] || die "these packages are missing: $packages_missing"
	rm -rf -- "$dir"/debian-image.?????? # of a build that was killed: this one has the lock
	tmp=$(mktemp -d "$dir/debian-image.XXXXXX")
	chmod 755 "$tmp" # a user namespace's root reads it
	say "building $image"
	root_tree
	as_owner file_system
	boot_partition
	disk
	chmod 444 "$tmp/disk.qcow2"
	mv -T -- "$tmp/disk.qcow2" "$image" # in one step
}

main() {
	if [ "${1:-}" = --step ]; then
		tmp=$3
		"$2"
		tmp=
		return
	fi
	trap cleanup EXIT
	local cache hash
	cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}
	[ "${cache#/}" != "$cache" ] || die "XDG_CACHE_HOME must be an absolute path, it is '$cache'"
	dir=$cache/maqet/images
	hash=$(sha256sum "$self")
	image=$dir/debian-12-amd64-${hash:0:16}.qcow2
	case ${1:-} in
	'') ;;
	--path)
		echo "$image"
		return
		;;
	--check)
		missing | sort -u
		[ -z "$(missing)" ]
		return
		;;
	*) die "unknown argument '$1'; usage: scripts/debian-image.sh [--path|--check]" ;;
	esac
	if ! [ -e "$image" ]; then
		(umask 077 && mkdir -p "$dir")
		exec 9>"$dir/debian-image.lock"
		flock 9
		[ -e "$image" ] || build
	fi
	echo "$image"
}

main "$@"
