package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// machine returns a guest that is ready: a fork of the template, which is made if it is not
// there.
func (s *settings) machine(ctx context.Context, m *maqet.Maqet) (*maqet.Machine, error) {
	if s.boot {
		return m.Run(ctx, s.config)
	}
	settings, boot, err := s.templateName(ctx)
	if err != nil {
		return nil, err
	}
	name := settings + boot
	g, err := m.Fork(ctx, name)
	if !unusable(err) {
		return g, err
	}
	// One process makes the template, however many want it.
	lock, err := flock.Wait(ctx, filepath.Join(s.dir, settings+"lock"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Unlock() }() // it only keeps others from doing the same
	g, err = m.Fork(ctx, name)
	if !unusable(err) {
		return g, err
	}
	if err := s.makeTemplate(ctx, m, settings, name); err != nil {
		if !errors.Is(err, errors.ErrTemplateInUse) {
			return nil, err
		}
		s.say("boots a guest: %v", err)
		return m.Run(ctx, s.config)
	}
	return m.Fork(ctx, name)
}

// unusable reports whether a fork failed for want of its template, or for what became of it.
func unusable(err error) bool {
	return errors.Is(err, errors.ErrTemplateNotFound) || errors.Is(err, errors.ErrTemplateMismatch)
}

// makeTemplate boots a guest and captures it, in place of what there was.
func (s *settings) makeTemplate(ctx context.Context, m *maqet.Maqet, settings, name string) (err error) {
	begun := time.Now()
	if err := clear(ctx, m, settings, name); err != nil {
		return err
	}
	cfg := s.config
	cfg.Template = true
	g, err := m.Run(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, g.Remove(context.WithoutCancel(ctx), vm.ForceRemove(), vm.DeleteImages()))
	}()
	// What each run begins with is in the guest's memory then.
	if _, err := g.Exec(ctx, "sh", "-c", "mkdir -p /tmp; cat /dev/null"); err != nil {
		return err
	}
	_, err = g.Capture(ctx, name, snapshot.KeepTemplate(vm.Persistent))
	s.say("template %s is made after %v", name, time.Since(begun).Round(time.Millisecond))
	return err
}

// clear deletes the template, and those that were made of the same settings with other files:
// nobody forks them any more. One of those that is in use is left for the next time.
func clear(ctx context.Context, m *maqet.Maqet, settings, name string) error {
	list, err := m.Snapshot.Templates(ctx)
	if err != nil {
		return err
	}
	for _, t := range list {
		if t.Name == name || !strings.HasPrefix(t.Name, settings) {
			continue
		}
		if err := m.Snapshot.DeleteTemplate(ctx, t.Name); err != nil && !errors.Is(err, errors.ErrTemplateInUse) && !unusable(err) {
			return err
		}
	}
	if err := m.Snapshot.DeleteTemplate(ctx, name); err != nil && !errors.Is(err, errors.ErrTemplateNotFound) {
		return err
	}
	return nil
}

// templateName returns the two parts of the template's name: one stands for the settings, and
// one for the files that the guest boots from, since a fork has what its template had.
// That QEMU is another one is found out by the fork.
func (s *settings) templateName(ctx context.Context) (settings, boot string, err error) {
	files, err := guest.NewBooter(guest.BooterOptions{}).ResolveBoot(ctx, s.config)
	if err != nil {
		return "", "", err
	}
	parts := []any{files.Kernel, files.Initrd, files.Firmware, files.UEFI} // Cmdline follows from the settings
	for _, path := range []string{files.Kernel, files.Initrd} {
		info, err := os.Stat(path)
		if err != nil {
			return "", "", err
		}
		parts = append(parts, info.Size(), info.ModTime())
	}
	settings, err = hash(s.config, os.Getenv("MAQET_QEMU"))
	if err != nil {
		return "", "", err
	}
	boot, err = hash(parts...)
	return "exec-" + settings + "-", boot, err
}

func hash(parts ...any) (string, error) {
	data, err := json.Marshal(parts)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6]), err
}
