package snapshot

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// externalUndo is what finishing or undoing an operation on an external snapshot needs.
type externalUndo struct {
	// Freeze: the guest's file systems may be frozen. Halted: its CPUs were, and are to go on.
	Freeze bool `json:"freeze,omitempty"`
	Halted bool `json:"halted,omitempty"`
	// Switching: the transaction may have been made.
	Switching bool `json:"switching,omitempty"`
	// Merges are the disks of a Commit.
	Merges []merge `json:"merges,omitempty"`
	// Fresh are the images that a Load has the disks stand on.
	Fresh []freshImage `json:"fresh,omitempty"`
	// Discard are files that nothing needs afterwards, the topmost first.
	Discard []string `json:"discard,omitempty"`
	// Forget: the snapshot itself goes as well.
	Forget bool `json:"forget,omitempty"`
}

func (rec *Record) externalUndo() (u externalUndo, err error) {
	if rec.Undo != nil {
		err = json.Unmarshal(rec.Undo, &u)
	}
	return u, errors.Wrap(errors.ErrSnapshot, "read what snapshot "+rec.Name+" was to become", "", err)
}

// freshImage is the image that a disk stands on after a Load.
type freshImage struct {
	Disk string `json:"disk"`
	// Path is that of an overlay over Base, or Base itself.
	Path       string `json:"path"`
	Base       string `json:"base"`
	BaseFormat string `json:"base_format"`
}

// layerPrefix begins the file names of layers. What follows is random: a disk's name and a
// snapshot's are texts of others.
const layerPrefix = "layer-"

// newLayer chooses the file of a layer.
func newLayer(r *vm.Reservation) string {
	unique := make([]byte, 4)
	rand.Read(unique) // never fails
	return filepath.Join(r.ImagesDir(), layerPrefix+hex.EncodeToString(unique)+".qcow2")
}

// layerNode is the name of a layer's block node while its disk's device is plugged.
func layerNode(disk, path string) string {
	unique := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), layerPrefix), ".qcow2")
	return qmp.LayerNodes(disk) + unique
}

// setImage records which image a disk is written in; original is the one without layers.
func setImage(inst *vm.Instance, originals []vm.Image, disk, path, format string) {
	inst.Layers = slices.DeleteFunc(slices.Clone(inst.Layers), func(l vm.Layer) bool { return l.Disk == disk })
	at := slices.IndexFunc(originals, func(img vm.Image) bool { return img.Name == disk })
	isOriginal := at >= 0 && sameFile(originals[at].Path, path)
	if !isOriginal {
		inst.Layers = append(inst.Layers, vm.Layer{Disk: disk, Path: path})
	}
	inst.Runtime.Disks = slices.Clone(inst.Runtime.Disks)
	for i := range inst.Runtime.Disks {
		img := &inst.Runtime.Disks[i]
		if img.Name != disk {
			continue
		}
		img.Path, img.Format, img.Owned, img.Device = path, format, true, false
		if isOriginal {
			info, err := os.Stat(path)
			*img = originals[at]
			img.Device = err == nil && info.Mode()&os.ModeDevice != 0
		}
	}
}

// sameFile reports whether two paths lead to one file.
func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
