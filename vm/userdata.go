package vm

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cloudConfig is a #cloud-config as far as [CloudInit] fills it (cloud-init documentation,
// "Module reference").
type cloudConfig struct {
	Users         []any           `json:"users,omitempty"`
	PackageUpdate bool            `json:"package_update,omitempty"`
	Packages      []string        `json:"packages,omitempty"`
	WriteFiles    []cloudFileItem `json:"write_files,omitempty"`
	RunCmd        [][]string      `json:"runcmd,omitempty"`
}

type cloudUserItem struct {
	Name           string   `json:"name"`
	Groups         []string `json:"groups,omitempty"`
	Shell          string   `json:"shell"`
	Sudo           string   `json:"sudo,omitempty"`
	AuthorizedKeys []string `json:"ssh_authorized_keys,omitempty"`
	LockPassword   bool     `json:"lock_passwd"`
	// Password is the hash; by this name of the key it is set also for a user that exists.
	Password string `json:"hashed_passwd,omitempty"`
}

type cloudFileItem struct {
	Path        string `json:"path"`
	Content     string `json:"content"`
	Encoding    string `json:"encoding,omitempty"`
	Owner       string `json:"owner,omitempty"`
	Permissions string `json:"permissions"`
	// Defer writes the file after the users were made.
	Defer bool `json:"defer,omitempty"`
}

type cloudMetaData struct {
	InstanceID string `json:"instance-id"`
	Hostname   string `json:"local-hostname"`
}

// userData returns the user-data for c. password and source return the content of files.
//
// It is JSON, which is YAML too: cloud-init reads YAML 1.1, where on, 0644 and 12:30 are no
// strings unless quoted, and JSON quotes all.
func (c *CloudInit) userData(password func(i int) string, source func(i int) []byte) ([]byte, error) {
	config := cloudConfig{Packages: c.Packages, PackageUpdate: len(c.Packages) > 0, RunCmd: c.Run}
	if len(c.Users) > 0 {
		config.Users = append(config.Users, "default")
	}
	for i, u := range c.Users {
		item := cloudUserItem{Name: u.Name, Groups: u.Groups, Shell: cmp.Or(u.Shell, "/bin/bash"),
			AuthorizedKeys: u.SSHKeys, Password: password(i)}
		item.LockPassword = item.Password == ""
		if u.Sudo {
			item.Sudo = "ALL=(ALL) NOPASSWD:ALL"
		}
		config.Users = append(config.Users, item)
	}
	for i, f := range c.Files {
		config.WriteFiles = append(config.WriteFiles, fileItem(f, source(i)))
	}
	text, err := marshal(config)
	return append([]byte("#cloud-config\n"), text...), err
}

func fileItem(f CloudFile, content []byte) cloudFileItem {
	item := cloudFileItem{Path: f.Path, Content: string(content), Owner: f.Owner,
		Permissions: cmp.Or(f.Mode, "0644"), Defer: f.Owner != ""}
	if !utf8.Valid(content) || bytes.ContainsFunc(content, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		item.Content, item.Encoding = base64.StdEncoding.EncodeToString(content), "b64"
	}
	return item
}

// metaData returns the meta-data. By the instance-id cloud-init knows whether it has been
// at work in this VM.
func (c *CloudInit) metaData(id, name string) ([]byte, error) {
	return marshal(cloudMetaData{InstanceID: id, Hostname: cmp.Or(c.Hostname, HostName(name))})
}

// HostName makes a host name of a VM's name: '-' for what no host name has.
func HostName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, name)
	return strings.Trim(clean[:min(len(clean), 63)], "-")
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	err := out.Encode(v)
	return b.Bytes(), err
}
