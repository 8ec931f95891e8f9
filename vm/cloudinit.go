package vm

// CloudInit is what cloud-init in the guest does at its first boot. It becomes an ISO image
// that cloud-init finds by its label (data source NoCloud), made anew at each start and
// removed when the guest has stopped. cloud-init applies it once per VM: to a disk that was
// kept it does nothing a second time. The empty CloudInit only names the guest.
// The default guest has no cloud-init: it sees the image, and does nothing with it.
//
// What is given here is kept with the VM's record: give secrets as paths of files, which
// are read when the VM starts.
//
// cloud-init documentation, "NoCloud" and "Module reference".
type CloudInit struct {
	// Hostname of the guest. Empty: the VM's name, with '-' for what no host name has.
	Hostname string `json:"hostname,omitempty" yaml:"hostname,omitempty"`
	// Users are made besides the distribution's own. Of one that exists, such as root, the
	// keys and the password are set.
	Users []CloudUser `json:"users,omitempty" yaml:"users,omitempty"`
	// Packages are installed, after the package lists were updated.
	Packages []string `json:"packages,omitempty" yaml:"packages,omitempty"`
	// Files are written, before Run.
	Files []CloudFile `json:"files,omitempty" yaml:"files,omitempty"`
	// Run are commands, each a program and its arguments, run as root at the end.
	Run [][]string `json:"run,omitempty" yaml:"run,omitempty"`
	// UserData is the path of a file that is used instead of Users, Packages, Files and Run; it
	// begins with "#cloud-config" or "#!", or with another of cloud-init's marks ("User-data
	// formats"). Multipart and compressed ones are taken as they are.
	UserData string `json:"user_data,omitempty" yaml:"user_data,omitempty"`
	// MetaData is the path of a file that is used instead of what is generated: instance-id,
	// which is the VM's ID, and local-hostname.
	MetaData string `json:"meta_data,omitempty" yaml:"meta_data,omitempty"`
	// NetworkConfig is the path of a network configuration, version 1 or 2. Empty: what
	// cloud-init does by itself, DHCP on the first card.
	NetworkConfig string `json:"network_config,omitempty" yaml:"network_config,omitempty"`
}

// CloudUser is a user in the guest.
type CloudUser struct {
	// Name is as useradd(8) takes it: a small letter or '_', then at most 31 small letters,
	// digits, '_' and '-'.
	Name    string   `json:"name" yaml:"name"`
	SSHKeys []string `json:"ssh_keys,omitempty" yaml:"ssh_keys,omitempty"` // public keys, as in authorized_keys
	Groups  []string `json:"groups,omitempty" yaml:"groups,omitempty"`
	Shell   string   `json:"shell,omitempty" yaml:"shell,omitempty"` // Empty: /bin/bash.
	Sudo    bool     `json:"sudo,omitempty" yaml:"sudo,omitempty"`   // everything, without a password
	// PasswordHashFile is the path of a file whose first line is the password's hash, as
	// crypt(5) has it. Empty: no password.
	PasswordHashFile string `json:"password_hash_file,omitempty" yaml:"password_hash_file,omitempty"`
}

// CloudFile is a file in the guest.
type CloudFile struct {
	Path   string `json:"path" yaml:"path"` // in the guest, absolute; its folder is made
	Text   string `json:"text,omitempty" yaml:"text,omitempty"`
	Source string `json:"source,omitempty" yaml:"source,omitempty"` // path on the host, instead of Text; at most 16 MiB
	Owner  string `json:"owner,omitempty" yaml:"owner,omitempty"`   // "user:group", also of Users; empty: root
	Mode   string `json:"mode,omitempty" yaml:"mode,omitempty"`     // octal; empty: "0644"
}
