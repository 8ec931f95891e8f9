package qmp

import (
	"context"
	"slices"
	"sync"

	"github.com/maqet/maqet/errors"
)

// identified is a Conn that knows which QEMU it talks to; see [WithBinary].
type identified interface{ Binary() string }

// Schema returns the schema of the QEMU that runs the VM called ref. It is read once
// for each binary, as far as the connection knows its binary, else once for each
// connection.
func (m *Manager) Schema(ctx context.Context, ref string) (*Schema, error) {
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return nil, err
	}
	s, err := m.schemas.get(ctx, conn, func() (*Schema, error) { return ReadSchema(ctx, m.On(ref)) })
	return s, onVM(err, ref)
}

// Supports reports whether the QEMU of the VM called ref has a command that takes the
// arguments; [Schema.Supports] says how they are written.
func (m *Manager) Supports(ctx context.Context, ref, command string, arguments ...string) (bool, error) {
	s, err := m.Schema(ctx, ref)
	return err == nil && s.Supports(command, arguments...), err
}

// schemaCache keeps what was read: by binary for ever (a host has few), by connection as
// long as that lasts.
type schemaCache struct {
	turn chan struct{} // held by who reads, so that the others learn from it

	mu       sync.Mutex
	byBinary map[string]*Schema
	byConn   []connSchema
}

type connSchema struct {
	conn   Conn
	schema *Schema
}

func newSchemaCache() *schemaCache {
	return &schemaCache{turn: make(chan struct{}, 1), byBinary: map[string]*Schema{}}
}

func (c *schemaCache) get(ctx context.Context, conn Conn, read func() (*Schema, error)) (*Schema, error) {
	if s := c.known(conn); s != nil {
		return s, nil
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, errors.Wrap(errors.ErrQMPTimeout, "QMP query-qmp-schema", "", context.Cause(ctx))
	}
	if s := c.known(conn); s != nil {
		return s, nil
	}
	s, err := read()
	if err == nil {
		c.keep(conn, s)
	}
	return s, err
}

func binaryOf(conn Conn) string {
	if b, ok := conn.(identified); ok {
		return b.Binary()
	}
	return ""
}

func (c *schemaCache) known(conn Conn) *Schema {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name := binaryOf(conn); name != "" {
		return c.byBinary[name]
	}
	for _, have := range c.byConn {
		if have.conn == conn {
			return have.schema
		}
	}
	return nil
}

func (c *schemaCache) keep(conn Conn, s *Schema) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name := binaryOf(conn); name != "" {
		c.byBinary[name] = s
		return
	}
	c.byConn = slices.DeleteFunc(c.byConn, func(have connSchema) bool { return have.conn.Err() != nil })
	c.byConn = append(c.byConn, connSchema{conn, s})
}
