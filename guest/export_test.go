package guest

import "time"

// SetCheckLimit changes how long a session may take to answer a ping.
func (m *Manager) SetCheckLimit(d time.Duration) { m.checkLimit = d }
