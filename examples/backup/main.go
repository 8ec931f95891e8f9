// Command backup boots a Linux guest with two disks, backs them up while it writes, whole and
// then what has changed, restores both backups, and proves that each is what the disks were.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "backup:", err)
		os.Exit(1)
	}
}

// disks are what the guest calls the disks.
var disks = map[string]string{"system": "vda", "data": "vdb"}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "backup-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m, err := maqet.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	fmt.Println("booting Linux")
	g, err := m.Run(ctx, vm.Config{
		Boot:  vm.Boot{Kernel: "auto"}, // the disks are empty
		Disks: []vm.Disk{{Name: "system", Size: 32 * vm.MiB}, {Name: "data", Size: 32 * vm.MiB}},
	})
	if err != nil {
		return err
	}
	backups := filepath.Join(dir, "backups")
	var was []map[string]string
	for _, mib := range []int{8, 1} { // the first is a whole one, the next has the changes only
		seen, err := write(ctx, g, mib)
		if err != nil {
			return err
		}
		was = append(was, seen)
		b, err := g.Backup(ctx, backups)
		if err != nil {
			return err
		}
		report(b)
	}
	if err := snapshot.VerifyBackup(ctx, backups); err != nil {
		return err
	}
	fmt.Println("both are sound")
	for i, want := range was {
		if err := prove(ctx, backups, i+1, filepath.Join(dir, fmt.Sprint("restored-", i+1)), want); err != nil {
			return err
		}
	}
	return nil
}

// write has the guest change some of each disk, and returns digests of what the disks hold then.
func write(ctx context.Context, g *maqet.Machine, mib int) (map[string]string, error) {
	seen := map[string]string{}
	for name, device := range disks {
		script := fmt.Sprintf("dd if=/dev/urandom of=/dev/%[1]s bs=1M seek=4 count=%[2]d conv=fsync,notrunc 2>/dev/null && sha256sum /dev/%[1]s", device, mib)
		res, err := g.Exec(ctx, "sh", "-c", script)
		if err != nil {
			return nil, err
		}
		seen[name], _, _ = strings.Cut(string(res.Stdout), " ")
	}
	fmt.Printf("the guest has written %d MiB to each disk\n", mib)
	return seen, nil
}

func report(b snapshot.Backup) {
	fmt.Printf("backup %d took %v\n", b.Number, b.Took.Round(time.Millisecond))
	for _, d := range b.Disks {
		kind := "stands on " + d.Base
		if d.Base == "" {
			kind = "is whole: " + d.Why
		}
		fmt.Printf("  %s has %.1f MiB, and %s\n", d.File, float64(d.Bytes)/(1<<20), kind)
	}
}

// prove restores a backup and compares it with what the guest saw.
func prove(ctx context.Context, backups string, number int, to string, want map[string]string) error {
	images, err := snapshot.RestoreBackup(ctx, backups, snapshot.RestoreSpec{Number: number, Dir: to, Format: vm.FormatRaw})
	if err != nil {
		return err
	}
	for name, path := range images {
		got, err := digest(path)
		if err != nil {
			return err
		}
		if got != want[name] {
			return fmt.Errorf("disk %s of backup %d is not what it was: %s, not %s", name, number, got, want[name])
		}
	}
	fmt.Printf("backup %d is what the disks were then\n", number)
	return nil
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}
