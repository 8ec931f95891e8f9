package libvirt

import (
	"encoding/xml"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
)

// metadataURI is the namespace of what maqet's domains say of themselves in their element
// metadata (libvirt, formatdomain, "General metadata"), by which they are told from others.
const (
	metadataURI    = "https://github.com/maqet/maqet"
	metadataPrefix = "maqet"
	// metadataVersion changes with the meaning of the element.
	metadataVersion = 1
)

// mark is what a domain of ours says of itself.
type mark struct {
	XMLName xml.Name `xml:"https://github.com/maqet/maqet vm"`
	ID      string   `xml:"id,attr"` // Instance.ID, also the domain's UUID
	Version int      `xml:"version,attr"`
	// Default is BootFiles.Default: maqet's own init is in the guest.
	Default bool `xml:"default,attr,omitempty"`
}

// metadata returns the element for a new domain. Both values are made here, or are a UUID.
func (m mark) metadata() (*libvirtxml.DomainMetadata, error) {
	text, err := xml.Marshal(m)
	if err != nil {
		return nil, err
	}
	// encoding/xml writes the namespace as a default one; libvirt wants a prefix.
	s := strings.Replace(string(text), "<vm xmlns=", "<"+metadataPrefix+":vm xmlns:"+metadataPrefix+"=", 1)
	s = strings.Replace(s, "</vm>", "</"+metadataPrefix+":vm>", 1)
	return &libvirtxml.DomainMetadata{XML: s}, nil
}

// markOf returns what a domain's XML says about it; errors.ErrVMNotFound when it says nothing:
// then the domain is not ours.
func markOf(domainXML string) (mark, error) {
	var d struct {
		UUID     string `xml:"uuid"`
		Metadata struct {
			Mark *mark `xml:"https://github.com/maqet/maqet vm"`
		} `xml:"metadata"`
	}
	if err := unmarshal(domainXML, &d); err != nil {
		return mark{}, err
	}
	m := d.Metadata.Mark
	if m == nil || m.ID != d.UUID {
		return mark{}, &errors.Error{Kind: errors.ErrVMNotFound, Op: "look at domain", Msg: "it was not made by maqet"}
	}
	return *m, nil
}

// ours reports whether a domain was made by maqet.
func ours(domainXML string) bool {
	_, err := markOf(domainXML)
	return err == nil
}

// unmarshal reads what libvirt has written.
func unmarshal(text string, into any) error {
	if err := xml.Unmarshal([]byte(text), into); err != nil {
		return errors.Wrap(errors.ErrBackend, "read libvirt's XML", "", err)
	}
	return nil
}
