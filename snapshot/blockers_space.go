package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// tablesNeed is what a snapshot takes in each image besides memory: new tables of a few
// clusters, or the empty layer.
const tablesNeed = 512 << 10

// space says which file system is too full for a new snapshot.
//
// What memory takes is not known before it is saved: pages of zeroes take next to nothing. It
// is no more than what the host holds of the guest's memory, because a page that the guest
// never wrote is in neither memory nor swap. That is what has to fit. It can be more than what
// is saved only by what the guest has filled with zeroes after it was in use. Where the host
// does not tell, nothing is assumed: a save that runs out of space is undone.
func (s *search) space(kind Kind, images []vm.Image) error {
	need := map[string]int64{} // by folder
	for _, img := range images {
		if kind == External {
			need[s.vms.ImagesDir(s.inst.ID)] += tablesNeed
		} else if img.Format == storage.FormatQcow2 && (kind == Memory || !img.Ephemeral) {
			need[filepath.Dir(img.Path)] += tablesNeed
		}
	}
	memory := ""
	if kind == Memory {
		memory = s.vms.ImagesDir(s.inst.ID) // in an image of its own
		if i := slices.IndexFunc(images, func(img vm.Image) bool { return img.Format == storage.FormatQcow2 }); i >= 0 {
			memory = filepath.Dir(images[i].Path)
		}
		need[memory] += tablesNeed
	}
	systems := map[uint64]*fileSystem{}
	for dir, n := range need {
		if err := add(systems, dir, n, dir == memory); err != nil {
			return err
		}
	}
	for _, fs := range systems {
		s.judge(fs)
	}
	return nil
}

// fileSystem is one that has to take something.
type fileSystem struct {
	dir    string // one of the folders
	free   int64  // bytes
	need   int64
	memory bool // and the memory besides
}

// add looks at the file system of a folder, or of the nearest one above it that is there.
func add(systems map[uint64]*fileSystem, dir string, need int64, memory bool) error {
	var stat unix.Stat_t
	err := unix.Stat(dir, &stat)
	for errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Stat(dir, &stat)
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	fs := systems[stat.Dev]
	if fs == nil {
		var v unix.Statfs_t
		if err := unix.Statfs(dir, &v); err != nil {
			return &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		blocks := v.Bavail
		if os.Geteuid() == 0 {
			blocks = v.Bfree // also what is kept for root
		}
		fs = &fileSystem{dir: dir, free: int64(blocks) * v.Bsize}
		systems[stat.Dev] = fs
	}
	fs.need += need
	fs.memory = fs.memory || memory
	return nil
}

// judge says so if a file system is too full.
func (s *search) judge(fs *fileSystem) {
	need := fs.need
	if fs.memory && need <= fs.free {
		need += memoryHeld(s.inst, fs.free-need)
	}
	if need > fs.free {
		s.add("", fmt.Sprintf("the file system of %q has %s free, and up to %s may be needed", fs.dir, roughly(fs.free), roughly(need)),
			"free some space there")
	}
}

// roughly writes a number of bytes for people.
func roughly(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
