package process

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/segment"
)

// segmentDir is the folder of a segment: short, as vmDir, and never the name of one of
// those, which are hexadecimal.
func segmentDir(runtimeDir, name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(runtimeDir, segmentPrefix+hex.EncodeToString(sum[:])[:11])
}

const segmentPrefix = "s"

var segmentName = regexp.MustCompile("^" + segmentPrefix + "[0-9a-f]{11}$")

// segmentCable is a socket from which QEMU sends each frame to the segment's switch. See
// package segment.
func (b *builder) segmentCable(c card) props {
	runtimeDir, short := filepath.Split(b.files.dir)
	dir := segmentDir(runtimeDir, c.SegmentOf())
	port := segment.PortPath(dir, fmt.Sprintf("%s.%d", short, c.Index))
	if len(port) > maxSocketPath {
		b.problem(c.Field+".type", c.Type, fmt.Sprintf("needs a socket %q, whose path has %d bytes; %d are possible", port, len(port), maxSocketPath),
			"use a shorter folder: WithDir, WithRuntimeDir or XDG_RUNTIME_DIR")
	}
	return props{"type": "dgram",
		"local":  props{"type": "unix", "path": port},
		"remote": props{"type": "unix", "path": segment.SwitchPath(dir)}}
}

// portsOf returns the sockets of the cards on segments in QEMU's command line: what runs
// counts, which the configuration may not be any more.
func portsOf(args []string) []string {
	var ports []string
	for i, arg := range args[:max(len(args)-1, 0)] {
		if arg != "-netdev" {
			continue
		}
		var netdev struct {
			Type          string
			Local, Remote struct{ Path string }
		}
		if json.Unmarshal([]byte(args[i+1]), &netdev) != nil || netdev.Type != "dgram" {
			continue
		}
		// Config.Args may have others, which are the user's.
		if port := netdev.Local.Path; netdev.Remote.Path == segment.SwitchPath(filepath.Dir(port)) {
			ports = append(ports, port)
		}
	}
	return ports
}

// segments are those that guests of this process are on. It is safe for concurrent use.
type segments struct {
	log *slog.Logger

	mu     sync.Mutex
	joined map[string]*joinedSegment // by folder
}

type joinedSegment struct {
	member *segment.Member
	cards  int
}

func newSegments(log *slog.Logger) *segments {
	return &segments{log: log, joined: map[string]*joinedSegment{}}
}

// join makes this process see to the segments of ports, until leave is called with the same.
func (s *segments) join(ports []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, port := range ports {
		dir := filepath.Dir(port)
		if s.joined[dir] == nil {
			member, err := openSegment(dir, s.log)
			if err != nil {
				return errors.Join(err, s.leaveLocked(ports[:i]))
			}
			s.joined[dir] = &joinedSegment{member: member}
		}
		s.joined[dir].cards++
	}
	return nil
}

func openSegment(dir string, log *slog.Logger) (*segment.Member, error) {
	if err := ownDir(dir); err != nil {
		return nil, err
	}
	return segment.Join(dir, log)
}

// leave ends what join began. What was never joined, or is closed, is ignored.
func (s *segments) leave(ports []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaveLocked(ports)
}

func (s *segments) leaveLocked(ports []string) error {
	var errs []error
	for _, port := range ports {
		dir := filepath.Dir(port)
		j := s.joined[dir]
		if j == nil {
			continue
		}
		if j.cards--; j.cards == 0 {
			delete(s.joined, dir)
			errs = append(errs, j.member.Close())
		}
	}
	return errors.Join(errs...)
}

// close leaves all segments.
func (s *segments) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, j := range s.joined {
		errs = append(errs, j.member.Close())
	}
	s.joined = map[string]*joinedSegment{}
	return errors.Join(errs...)
}

// removePorts removes the sockets that the QEMU of a VM has made on segments, and those of
// switches that nobody runs any more. dir is the folder of its other sockets.
func removePorts(dir string) error {
	runtimeDir, short := filepath.Split(dir)
	entries, err := os.ReadDir(runtimeDir)
	errs := []error{ignore(err, os.ErrNotExist)}
	for _, e := range entries {
		if segmentName.MatchString(e.Name()) {
			path := filepath.Join(runtimeDir, e.Name())
			errs = append(errs, segment.RemovePorts(path, short+"."), segment.Sweep(path))
		}
	}
	return errors.Join(errs...)
}

// openPorts makes the sockets that QEMU has made by now its user's only, whatever the
// umask is; the switch takes it for the sign that they are complete.
func openPorts(ports []string) error {
	var errs []error
	for _, port := range ports {
		errs = append(errs, os.Chmod(port, 0o600))
	}
	return errors.Join(errs...)
}
