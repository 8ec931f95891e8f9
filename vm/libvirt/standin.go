package libvirt

// What other parts bring: kept as small as can be until theirs is there.

import (
	"fmt"

	"github.com/maqet/maqet/vm"
)

func domainXML(spec vm.LaunchSpec) (string, error) {
	kind := "qemu"
	return fmt.Sprintf(`<domain type='%s'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory>
	<metadata><maqet:vm xmlns:maqet='%s'/></metadata>
	<os><type arch='x86_64' machine='q35'>hvm</type></os>
	<devices><serial type='pty'/><console type='pty'/></devices></domain>`, kind, spec.Config.Name, spec.ID, metadataURI), nil
}
