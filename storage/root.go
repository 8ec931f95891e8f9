package storage

// Root returns the folder below which images are created and deleted, as an absolute path.
// It need not exist yet.
func (m *Manager) Root() string { return m.root }
