package vm

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

var (
	// userPattern is what Debian's useradd(8) takes.
	userPattern  = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	ownerPattern = regexp.MustCompile(`^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?$`)
	modePattern  = regexp.MustCompile(`^0?[0-7]{3,4}$`)
	// hostPattern is RFC 1123's: labels of letters, digits and '-'.
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
)

func (v *validator) cloudInit(c *CloudInit) {
	if c == nil {
		return
	}
	if c.Hostname != "" && (len(c.Hostname) > 64 || !hostPattern.MatchString(c.Hostname)) {
		v.add("cloud_init.hostname", c.Hostname, "is not a host name", "use letters, digits and '-', in parts separated by '.'")
	}
	v.cloudUsers(c.Users)
	for i, p := range c.Packages {
		v.cloudText(fmt.Sprintf("cloud_init.packages[%d]", i), p, true)
	}
	v.cloudFiles(c.Files)
	for i, command := range c.Run {
		field := fmt.Sprintf("cloud_init.run[%d]", i)
		if len(command) == 0 || command[0] == "" {
			v.add(field, "", "names no program", `write it as ["systemctl", "restart", "ssh"]`)
		}
		for j, arg := range command {
			if strings.ContainsRune(arg, 0) {
				v.add(fmt.Sprintf("%s[%d]", field, j), arg, "has a NUL character", "remove it")
			}
			v.utf8(fmt.Sprintf("%s[%d]", field, j), arg)
		}
	}
	v.text("cloud_init.user_data", c.UserData)
	v.text("cloud_init.meta_data", c.MetaData)
	v.text("cloud_init.network_config", c.NetworkConfig)
	if c.UserData != "" && (len(c.Users) > 0 || len(c.Packages) > 0 || len(c.Files) > 0 || len(c.Run) > 0) {
		v.add("cloud_init.user_data", c.UserData, "is used instead of users, packages, files and run, which are given too",
			"leave out one or the other")
	}
}

// cloudText refuses what can't be one line of text.
func (v *validator) cloudText(field, value string, needed bool) {
	if needed && value == "" {
		v.add(field, "", "is empty", "remove it, or say what")
	}
	v.text(field, value)
}

func (v *validator) cloudUsers(users []CloudUser) {
	seen := map[string]int{}
	for i, u := range users {
		field := fmt.Sprintf("cloud_init.users[%d]", i)
		if !userPattern.MatchString(u.Name) {
			v.add(field+".name", u.Name, "is not a user's name", "use a small letter, then at most 31 small letters, digits, '_' and '-'")
		}
		if u.Name == "default" {
			v.add(field+".name", u.Name, "is what cloud-init calls the distribution's own user, who is made anyway", "use another")
		}
		if first, ok := seen[u.Name]; ok {
			v.add(field+".name", u.Name, fmt.Sprintf("is also the name of cloud_init.users[%d]", first), "give each user once")
		}
		seen[u.Name] = i
		for j, key := range u.SSHKeys {
			v.sshKey(fmt.Sprintf("%s.ssh_keys[%d]", field, j), key)
		}
		for j, g := range u.Groups {
			if !userPattern.MatchString(g) {
				v.add(fmt.Sprintf("%s.groups[%d]", field, j), g, "is not a group's name", "use small letters, digits, '_' and '-'")
			}
		}
		if u.Shell != "" && (!path.IsAbs(u.Shell) || strings.ContainsRune(u.Shell, ':')) {
			v.add(field+".shell", u.Shell, "is not an absolute path", "write it as /bin/sh")
		}
		v.text(field+".shell", u.Shell)
		v.text(field+".password_hash_file", u.PasswordHashFile)
	}
}

// sshKey looks for what people mix up; only sshd knows whether it takes a key.
func (v *validator) sshKey(field, key string) {
	switch {
	case !v.text(field, key):
	case strings.Contains(key, "PRIVATE KEY"):
		v.add(field, "", "is a private key", "give the public one, from the file that ends in .pub")
	case len(strings.Fields(key)) < 2:
		v.add(field, key, "is not a public key", `write it as in authorized_keys: "ssh-ed25519 AAAA... comment"`)
	}
}

func (v *validator) cloudFiles(files []CloudFile) {
	for i, f := range files {
		field := fmt.Sprintf("cloud_init.files[%d]", i)
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
			v.add(field+".path", f.Path, "is not a clean absolute path", "write it as /folder/file")
		}
		v.text(field+".path", f.Path)
		v.utf8(field+".text", f.Text)
		v.text(field+".source", f.Source)
		if f.Text != "" && f.Source != "" {
			v.add(field+".source", f.Source, "is given beside a text", "leave out one or the other")
		}
		if f.Owner != "" && !ownerPattern.MatchString(f.Owner) {
			v.add(field+".owner", f.Owner, "is not an owner", `write it as "user:group"`)
		}
		if f.Mode != "" && !modePattern.MatchString(f.Mode) {
			v.add(field+".mode", f.Mode, "is not a mode", `write it in octal: "0644"`)
		}
	}
}
