package guest

// Renew drops the connections to the agent and the init of a guest that was brought back to
// an earlier moment.
func (m *Manager) Renew(ref string) {
	m.mu.Lock()
	var l *link
	for g, have := range m.links {
		_ = g
		l = have
	}
	m.mu.Unlock()
	if l != nil {
		l.replace(nil)
	}
}
