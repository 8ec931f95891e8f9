package main

import (
	"os"
	"strings"

	"github.com/maqet/maqet"
)

// envLibvirt has what --libvirt is, where that is not given, separated by spaces.
const envLibvirt = "MAQET_LIBVIRT"

// hosts returns the libvirt hosts that were named, as [NAME=]URI.
func (a *app) hosts() []string {
	if len(a.libvirt) > 0 {
		return a.libvirt
	}
	return strings.Fields(os.Getenv(envLibvirt))
}

// libvirtOption adds a host: as one of those that backend "any" means if it has a name, else as
// the backend "libvirt".
func libvirtOption(host string) maqet.Option {
	name, uri, named := strings.Cut(host, "=")
	if !named || strings.ContainsRune(name, ':') { // the equals sign is one of the URI's parameters
		return maqet.WithLibvirt(host)
	}
	return maqet.WithLibvirtHost(name, uri)
}
