package storage

import (
	"bytes"
	"context"
	"io"
	"strconv"
)

// meter tells how far an operation has come. The zero meter tells nobody.
type meter struct {
	report func(done, total int64)
	from   int64 // what earlier parts of the operation have done
	part   int64 // what this part will do
	total  int64 // what all parts do
}

// newMeter returns a meter of an operation that does parts, in bytes, one after the other.
// The first is the one to begin with.
func newMeter(report func(done, total int64), parts ...int64) meter {
	m := meter{report: report, part: parts[0]}
	for _, p := range parts {
		m.total += p
	}
	m.at(0)
	return m
}

// at says how much of the present part is done.
func (m meter) at(done int64) {
	if m.report != nil {
		m.report(m.from+min(done, m.part), m.total)
	}
}

// then returns the meter of the next part.
func (m meter) then(part int64) meter {
	m.from += m.part
	m.part = part
	return m
}

// img runs qemu-img where its output says nothing.
func (m *Manager) img(ctx context.Context, args ...string) error {
	_, err := m.runner.Run(ctx, args...)
	return err
}

// work runs a subcommand of qemu-img that can tell how far it is, and shows it on meter.
func (m *Manager) work(ctx context.Context, to meter, command string, args ...string) error {
	if to.report == nil {
		return m.img(ctx, append([]string{command}, args...)...)
	}
	args = append([]string{command, "-p"}, args...)
	percent := &percentWriter{meter: to}
	if s, ok := m.runner.(Streamer); ok {
		if err := s.Stream(ctx, percent, nil, args...); err != nil {
			return err
		}
	} else if err := m.img(ctx, args...); err != nil {
		return err
	}
	percent.end()
	return nil
}

// percentWriter reads what qemu-img -p prints: "    (12.34/100%)\r", again and again (QEMU,
// util/qemu-progress.c).
type percentWriter struct {
	meter meter
	line  []byte // what is incomplete
	last  int64
}

var _ io.Writer = (*percentWriter)(nil)

// Write implements io.Writer.
func (p *percentWriter) Write(text []byte) (int, error) {
	p.line = append(p.line, text...)
	for {
		at := bytes.IndexByte(p.line, '\r')
		if at < 0 {
			p.line = p.line[max(0, len(p.line)-64):] // no number is that long
			return len(text), nil
		}
		_, number, _ := bytes.Cut(p.line[:at], []byte("("))
		number, _, _ = bytes.Cut(number, []byte("/"))
		if percent, err := strconv.ParseFloat(string(number), 64); err == nil && percent >= 0 && percent <= 100 {
			p.at(int64(float64(p.meter.part) * percent / 100))
		}
		p.line = p.line[at+1:]
	}
}

// at goes forward only: qemu-img begins anew for each of several images.
func (p *percentWriter) at(done int64) {
	if done > p.last {
		p.last = done
		p.meter.at(done)
	}
}

func (p *percentWriter) end() { p.at(p.meter.part) }
