package vm

// FwCfg is a blob that the guest reads from QEMU's fw_cfg device: with Linux and its module
// qemu_fw_cfg it is the file /sys/firmware/qemu_fw_cfg/by_name/NAME/raw. Give one of File and
// Text; neither is on QEMU's command line, where others on the host could read it, but a
// Text is part of the VM's record. systemd takes credentials from those below
// "opt/io.systemd.credentials/".
//
// QEMU manual, -fw_cfg, and docs/specs/fw_cfg.txt.
type FwCfg struct {
	// Name begins with "opt/", has parts of letters, digits and "-_.:@+", and at most 55
	// characters in all. Use a domain that is yours: "opt/com.example/token".
	Name string `json:"name" yaml:"name"`
	File string `json:"file,omitempty" yaml:"file,omitempty"`
	Text string `json:"text,omitempty" yaml:"text,omitempty"`
}

// SMBIOS is what the guest's tables say about the machine (with Linux /sys/class/dmi/id).
// Empty fields are QEMU's own. An aarch64 guest sees the tables only behind a UEFI; a microvm
// and riscv64 have none. The UUID in them is the VM's ID.
//
// QEMU manual, -smbios; type 1 for what has a field of its own.
type SMBIOS struct {
	Manufacturer string `json:"manufacturer,omitempty" yaml:"manufacturer,omitempty"`
	Product      string `json:"product,omitempty" yaml:"product,omitempty"`
	Version      string `json:"version,omitempty" yaml:"version,omitempty"`
	Serial       string `json:"serial,omitempty" yaml:"serial,omitempty"`
	SKU          string `json:"sku,omitempty" yaml:"sku,omitempty"`
	Family       string `json:"family,omitempty" yaml:"family,omitempty"`
	// OEMStrings are the table's free strings (type 11), at most 255; systemd takes credentials
	// from those that begin with "io.systemd.credential:". They are not on QEMU's command line.
	OEMStrings []string `json:"oem_strings,omitempty" yaml:"oem_strings,omitempty"`
}
