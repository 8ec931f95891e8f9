package vm

import (
	"fmt"
	"regexp"
)

// maxFwCfgName is one byte less than QEMU's FW_CFG_MAX_FILE_PATH, for the NUL
// (QEMU, docs/specs/fw_cfg.txt).
const maxFwCfgName = 55

// fwCfgPattern: Linux shows the parts between slashes as folders.
var fwCfgPattern = regexp.MustCompile(`^opt(/[A-Za-z0-9@:_+-][A-Za-z0-9@:._+-]*)+$`)

// maxOEMStrings is what the byte that counts them holds (SMBIOS specification, type 11).
const maxOEMStrings = 255

func (v *validator) blobs(c Config) {
	v.text("ignition", c.Ignition)
	names := map[string]string{}
	if c.Ignition != "" {
		names["opt/com.coreos/config"] = "ignition"
	}
	for i, f := range c.FwCfg {
		field := fmt.Sprintf("fw_cfg[%d]", i)
		v.text(field+".file", f.File)
		v.utf8(field+".text", f.Text)
		switch first, taken := names[f.Name]; {
		case !fwCfgPattern.MatchString(f.Name) || len(f.Name) > maxFwCfgName:
			v.add(field+".name", f.Name, "is not the name of a blob",
				`use "opt/", your domain, and a name, at most 55 letters, digits and -_.:@+ in all: opt/com.example/token`)
		case taken:
			v.add(field+".name", f.Name, "is also the name of "+first, "give each blob a name of its own")
		default:
			names[f.Name] = field
		}
		if (f.File == "") == (f.Text == "") {
			v.add(field, f.Name, "has both a file and a text, or neither", "give one of them")
		}
	}
	v.smbios(c.SMBIOS)
}

func (v *validator) smbios(s SMBIOS) {
	for _, f := range [][2]string{{"manufacturer", s.Manufacturer}, {"product", s.Product}, {"version", s.Version},
		{"serial", s.Serial}, {"sku", s.SKU}, {"family", s.Family}} {
		v.text("smbios."+f[0], f[1])
	}
	if len(s.OEMStrings) > maxOEMStrings {
		v.add("smbios.oem_strings", fmt.Sprint(len(s.OEMStrings)), "are more than 255", "use fw_cfg for more")
	}
	for i, text := range s.OEMStrings {
		field := fmt.Sprintf("smbios.oem_strings[%d]", i)
		v.text(field, text)
		if text == "" {
			v.add(field, "", "is empty, which ends the table", "remove it")
		}
	}
}
