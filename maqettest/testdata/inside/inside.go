// Package inside is covered by what runs in a guest and by what runs on the host.
package inside

// Both is called in both.
func Both() string { return "both" }

// Guest is called in guests only.
func Guest() string { return "guest" }

// Nowhere is not called.
func Nowhere() string { return "nowhere" }
