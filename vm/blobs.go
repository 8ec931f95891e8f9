package vm

// FwCfg is a blob that the guest reads from QEMU's fw_cfg device: with Linux below
// /sys/firmware/qemu_fw_cfg/by_name. Give one of File and Text.
type FwCfg struct {
	Name string `json:"name" yaml:"name"` // begins with "opt/"; at most 55 characters
	File string `json:"file,omitempty" yaml:"file,omitempty"`
	Text string `json:"text,omitempty" yaml:"text,omitempty"`
}

// SMBIOS is what the guest's tables say about the machine (with Linux /sys/class/dmi/id).
// Empty fields are QEMU's own.
type SMBIOS struct {
	Manufacturer string `json:"manufacturer,omitempty" yaml:"manufacturer,omitempty"`
	Product      string `json:"product,omitempty" yaml:"product,omitempty"`
	Version      string `json:"version,omitempty" yaml:"version,omitempty"`
	Serial       string `json:"serial,omitempty" yaml:"serial,omitempty"`
	SKU          string `json:"sku,omitempty" yaml:"sku,omitempty"`
	Family       string `json:"family,omitempty" yaml:"family,omitempty"`
	// OEMStrings are the table's free strings (type 11); systemd takes credentials from
	// those that begin with "io.systemd.credential:".
	OEMStrings []string `json:"oem_strings,omitempty" yaml:"oem_strings,omitempty"`
}
