package memory

import (
	"context"

	"github.com/maqet/maqet/storage"
)

var _ storage.Registry = (*Store)(nil)

// PutFile implements storage.Registry.
func (s *Store) PutFile(ctx context.Context, file storage.File) error {
	s.mu.RLock() // of what it guards only whether the store is open is looked at
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "register image", file.Path); err != nil {
		return err
	}
	return s.files.PutFile(ctx, file)
}

// Files implements storage.Registry.
func (s *Store) Files(ctx context.Context, f storage.FileFilter) ([]storage.File, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "list registered images", ""); err != nil {
		return nil, err
	}
	return s.files.Files(ctx, f)
}

// DropFile implements storage.Registry.
func (s *Store) DropFile(ctx context.Context, path string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "forget image", path); err != nil {
		return err
	}
	return s.files.DropFile(ctx, path)
}
