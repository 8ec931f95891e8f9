package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// The files of a template, in its folder. Its disks' images are storage's.
const (
	templateFile = "manifest.json"
	stateFile    = "state"    // what QEMU wrote of the machine
	ramFile      = "memory"   // of a persistent template
	nvramFile    = "nvram"    // UEFI variables
	seedFile     = "seed.iso" // for cloud-init
)

// recapture is what to do about a template that can't be used any more.
const recapture = "delete it, and capture it again"

// templateVersion changes with the meaning of what is written.
const templateVersion = 1

// templateRecord is all that is recorded of a template.
type templateRecord struct {
	Version int `json:"version"`
	Template
	Boot      vm.BootFiles `json:"boot,omitzero"`
	Cards     []vm.Card    `json:"cards,omitempty"`
	Plugged   []qmp.Device `json:"plugged,omitempty"`
	Unplugged []string     `json:"unplugged,omitempty"`
	NVRAM     bool         `json:"nvram,omitempty"`
	Seed      bool         `json:"seed,omitempty"`
	State     fileID       `json:"state"`
	StateSum  string       `json:"state_sha256"`
	// RAM is the file of a Shared template; its owner has that of an ephemeral one open, as
	// descriptor RAMFD.
	RAM   fileID `json:"ram,omitzero"`
	RAMFD int    `json:"ram_fd,omitempty"`
	// Images are those that its disks stand on.
	Images []templateImage `json:"images,omitempty"`
}

// templateImage is an image that nobody may write any more.
type templateImage struct {
	Path string `json:"path"`
	fileID
}

// alive reports whether the template is there for anybody: an ephemeral one goes with its
// owner.
func (m *templateRecord) alive() bool {
	return m.Lifetime == vm.Persistent || proc.Alive(proc.ID(m.Owner))
}

// readTemplate reads the manifest in a template's folder. With one that is not of this version,
// damaged, or a copy of another template's, which is errors.ErrTemplateMismatch, comes what it says
// nonetheless, of a copy without the ID, whose images are the other's.
func readTemplate(dir string) (*templateRecord, error) {
	data, err := os.ReadFile(filepath.Join(dir, templateFile))
	if err != nil {
		return nil, err
	}
	m := &templateRecord{}
	if err := json.Unmarshal(data, m); err != nil {
		return m, &errors.Error{Kind: errors.ErrTemplateMismatch, Op: "read " + filepath.Join(dir, templateFile), Err: err, Hint: recapture}
	}
	if name := filepath.Base(dir); m.Name != name {
		was := m.Name
		m.Name, m.ID = name, ""
		return m, &errors.Error{Kind: errors.ErrTemplateMismatch, Op: "read template " + name,
			Msg: "its manifest is of the template " + strconv.Quote(was), Hint: "fork that one, and delete this copy"}
	}
	if m.Version != templateVersion {
		return m, &errors.Error{Kind: errors.ErrTemplateMismatch, Op: "read template " + m.Name,
			Msg: "another version of maqet has made it", Hint: recapture}
	}
	return m, nil
}

func (m *templateRecord) write(dir string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, templateFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && m.Lifetime == vm.Persistent {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// openPart opens a file of a template.
func openPart(dir, name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
}

// checked opens the state and makes sure that it is what was saved.
func (m *templateRecord) checked(dir string) (*os.File, error) {
	f, err := openPart(dir, stateFile)
	if err != nil {
		return nil, m.spoilt(err)
	}
	sum, err := sumOf(f)
	if err == nil && sum != m.StateSum {
		err = errors.New("the saved state was changed")
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(m.spoilt(err), f.Close())
	}
	return f, nil
}

// spoilt says that a file of the template is not what was saved.
func (m *templateRecord) spoilt(err error) error {
	return &errors.Error{Kind: errors.ErrTemplateMismatch, Op: "open template " + m.Name, Err: err, Hint: recapture}
}

// unchanged makes sure that the images are what they were: a fork whose disks differ from what its
// memory knows of them would destroy them.
func (m *templateRecord) unchanged() error {
	for _, img := range m.Images {
		id, err := identifyPath(img.Path)
		if err == nil && id != img.fileID {
			err = errors.New("the image " + img.Path + " was changed")
		}
		if err != nil {
			return m.spoilt(err)
		}
	}
	return nil
}

func sumOf(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
