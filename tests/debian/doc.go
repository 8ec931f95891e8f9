// Package debian tests maqet with a real distribution: the Debian 12 that
// scripts/debian-image.sh builds, with systemd, the QEMU guest agent, OpenSSH and
// cloud-init. Boots take a while where the processor is emulated, so there are two.
package debian
