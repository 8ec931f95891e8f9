package vm

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Longest tags in bytes: struct virtio_fs_config has 36, without a NUL at the end (virtio
// specification 1.2, 5.11.4); QEMU's hw/9pfs/9p.h has MAX_TAG_LEN 32, the NUL included.
const (
	maxTag   = 36
	maxTag9p = 31
)

func (v *validator) shares(shares []Share) {
	names, mounts := map[string]int{}, map[string]int{}
	for i, s := range shares {
		field := fmt.Sprintf("shares[%d]", i)
		v.oneOf(field+".type", s.Type, Share9p, ShareVirtiofs)
		v.tag(field, s)
		if first, ok := names[s.NameAt(i)]; ok {
			v.add(field+".name", s.NameAt(i), fmt.Sprintf("is also the name of shares[%d]", first), "give each share a name of its own")
		} else {
			names[s.NameAt(i)] = i
		}
		if s.Path == "" {
			v.add(field+".path", "", "is empty", "give the path of the folder to share")
		}
		v.text(field+".path", s.Path)
		v.mountPoint(field+".mount", s.Mount)
		if first, ok := mounts[s.MountAt(i)]; ok && s.Mount != "" {
			v.add(field+".mount", s.Mount, fmt.Sprintf("is also where shares[%d] is mounted", first), "mount each share somewhere else")
		}
		mounts[s.MountAt(i)] = i
		v.oneOf(field+".security", s.Security, securityModels...)
		if s.Security != "" && s.Type == ShareVirtiofs {
			v.add(field+".security", s.Security, "is for shares of type 9p", "leave it out")
		}
	}
}

// securityModels are those of QEMU's -fsdev local.
var securityModels = []string{"mapped-xattr", "mapped-file", "passthrough", "none"}

// tag checks what the guest mounts a share by. It is also an element of a path.
func (v *validator) tag(field string, s Share) {
	field += ".name"
	limit := maxTag
	if s.Type == Share9p {
		limit = maxTag9p
	}
	switch {
	case s.Name == "":
	case len(s.Name) > limit:
		v.add(field, s.Name, fmt.Sprintf("has %d bytes, the tag of a share may have %d", len(s.Name), limit), "shorten it")
	case !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, unicode.IsControl):
		v.add(field, s.Name, "has control characters, or is not UTF-8", "use printable characters")
	case strings.ContainsRune(s.Name, '/') || s.Name == "." || s.Name == "..":
		v.add(field, s.Name, "can't be the name of a folder in the guest", "use another name, without slashes")
	}
}

func (v *validator) mountPoint(field, p string) {
	if p == "" || !v.text(field, p) {
		return
	}
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
		v.add(field, p, "is not a clean absolute path", "write it as /folder, other than / itself")
	}
}
